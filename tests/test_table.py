"""Tables: whole in a file, and readable on a narrow terminal."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys

import pytest

from pipeline import table
from pipeline.speeds import HEADINGS
from tests.conftest import PROJECT

ROW = ("16", "0", "vision", "24.9267", "24.9267", "24.8123", "99.5%", "40.1176", "QUOTABLE")


def on_terminal(columns: int) -> list[str]:
    terminal, end = pty.openpty()
    code = f"from pipeline import table; table.show({HEADINGS!r}, [{ROW!r}], left='run')"
    env = os.environ | {"COLUMNS": str(columns), "TERM": "xterm"}
    subprocess.run([sys.executable, "-c", code], cwd=PROJECT, env=env, stdout=end, check=True)
    os.close(end)
    seen = b""
    try:
        while more := os.read(terminal, 4096):
            seen += more
    except OSError:  # EIO: nobody has it open any more
        pass
    os.close(terminal)
    return re.sub(r"\x1b\[[0-9;]*m", "", seen.decode()).splitlines()


def test_table_in_a_file_is_two_lines_however_long(capsys: pytest.CaptureFixture[str]) -> None:
    table.show(HEADINGS, [ROW], left="run")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert all(heading in lines[0] for heading in HEADINGS)
    assert lines[1].split() == list(ROW)


def test_headings_are_stacked_before_anything_is_cut() -> None:
    wide, narrow = on_terminal(120), on_terminal(80)
    assert len(wide) == 2
    assert len(narrow) == 3
    for lines in (wide, narrow):
        text = " ".join(lines)
        assert "…" not in text
        assert all(cell in text for cell in ROW)
        assert all(word in text for heading in HEADINGS for word in heading.split())
    assert max(map(len, narrow)) <= 80
