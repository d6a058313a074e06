"""The fault suite: a short run of it, and proof that it sees what it is there to see."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from tests.conftest import PROJECT
from tests.faults import kills
from tests.faults.field import Field
from tests.faults.ground import LAYER, PYTHON, Ground, Stage
from tests.faults.tally import Problem, Tally

# A stage that makes ten files in half a second, with the frame, the record and the lock of a real
# one. What is planted in it goes before `work`.
STAGE = """
import signal, sys, time
from pathlib import Path
from cli import door
from pipeline import ledger, record

def flawless(path, data):
    partial = path.with_name("." + path.name)
    partial.write_bytes(data)
    time.sleep(0.04)
    partial.replace(path)

def make(path, data):
    flawless(path, data)

def again(folder):
    for path in folder.glob(".item*"):
        path.unlink()

{planted}

def call(args):
    folder = Path("out")
    folder.mkdir(exist_ok=True)
    run = record.Run("fake", [], [folder], {{}})
    with record.keeping(run), ledger.Ledger(folder, {{}}) as book:
        again(folder)
        for number in range(10):
            path = folder / f"item {{number}}"
            if not path.exists():
                make(path, bytes([number]) * 1000)
                book.add(path.name)
        run.counts = {{"given": 10, "done": 10}}
    return door.Verdict("10 items")

sys.exit(door.enter(door.Parser("A stage.", "none"), call))
"""
PLANTED = {
    "nothing": "",
    "a file that is half under its final name": """
def make(path, data):
    with path.open("wb", buffering=0) as file:
        file.write(data[:500])
        time.sleep(0.04)
        file.write(data[500:])
""",
    "an item forgotten when going on": """
def again(folder):
    flawed = any(folder.iterdir())
    global make
    make = lambda p, d: None if flawed and p.name == "item 9" else flawless(p, d)
""",
    "a temporary file left behind": """
def again(folder):
    for path in folder.glob(".item*"):
        path.rename(path.with_suffix(".old"))
""",
    "an item made anew that was done": """
def again(folder):
    for path in folder.iterdir():
        path.unlink()
""",
    "deafness to Ctrl-C": """
def again(folder):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    time.sleep(0.01)
def make(path, data):
    flawless(path, data)
    time.sleep(0.15)
""",
}


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    made = Ground(tmp_path / "a place")
    made.root.mkdir()
    return made


def fake(folder: Path, planted: str) -> Stage:
    script = folder / "stage.py"
    script.write_text(STAGE.format(planted=PLANTED[planted]))
    # As a script it is not slowed down, which makes for a short test.
    return Stage("fake", (PYTHON, str(script)), outputs=("out",), items="out", script=True)


def try_on(ground: Ground, stage: Stage, tries: int) -> Tally:
    tally = Tally()
    for number in range(tries):
        kills.kill(Field(ground, tally, [stage], number, Random(number)))
    return tally


def test_stage_without_a_fault_stands_every_kill(ground: Ground, tmp_path: Path) -> None:
    tally = try_on(ground, fake(tmp_path, "nothing"), 4)
    assert tally.good, tally.problems
    assert "killed and run again: 4 of 4 identical" in "\n".join(tally.table())
    assert [path.name for path in ground.root.iterdir()] == []


@pytest.mark.parametrize(
    ("planted", "kind", "word"),
    [
        ("a file that is half under its final name", "wrong", "other content: 'out/item"),
        ("an item forgotten when going on", "lost", "missing: 'out/item 9'"),
        ("a temporary file left behind", "wrong", "left behind: 'out/.item"),
        ("an item made anew that was done", "lost", "items were done, and only 0 files were kept"),
    ],
)
def test_planted_fault_is_seen(
    ground: Ground, tmp_path: Path, planted: str, kind: str, word: str
) -> None:
    tally = try_on(ground, fake(tmp_path, planted), 4)
    assert not tally.good
    assert any(problem.startswith(kind) and word in problem for problem in tally.problems)
    assert not any(problem.startswith("hung") for problem in tally.problems)


def test_run_that_is_deaf_to_ctrl_c_counts_as_hung(
    ground: Ground, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kills, "HUNG_S", 0.4)
    stage = fake(tmp_path, "deafness to Ctrl-C")
    ground.reference(stage)
    tally = Tally()
    monkeypatch.setattr(Field, "again", lambda *rest: [])
    for number in range(2):
        kills.ctrl_c(Field(ground, tally, [stage], number, Random(number)))
    assert tally.rows[kills.CTRL_C].bad["hung"] > 0


def under_layer(code: str, folder: Path, **spec: object) -> str:
    """Run Python code in `folder` under the layer; return what it prints, errors and all."""
    environment = {**os.environ, "PYTHONPATH": str(LAYER)}
    environment["FAULT_LAYER"] = json.dumps({"under": str(folder), "seed": 1, **spec})
    done = subprocess.run(
        [PYTHON, "-c", code], cwd=folder, env=environment, capture_output=True, text=True
    )
    return done.stdout + done.stderr


@pytest.mark.parametrize(
    "code",
    [
        "open('new', 'w')",
        "open('there').read()",
        "import os; os.write(os.open('there', os.O_WRONLY), b'x')",
        "import os; os.replace('there', 'new')",
        "from pathlib import Path; Path('new').write_bytes(b'x')",
        "from pathlib import Path; Path('new').mkdir()",
        "import os; os.readv(os.open('there', os.O_RDONLY), [bytearray(4)])",
    ],
)
def test_layer_fails_every_call_below_its_folder_and_none_outside(
    tmp_path: Path, code: str
) -> None:
    folder = tmp_path / "under"
    for place in (folder, tmp_path / "outside"):
        place.mkdir()
        (place / "there").write_text("content")
    said = under_layer(code, folder, rate=1, errors=["EIO"])
    assert "OSError: [Errno 5] Input/output error" in said
    code = f"import os; os.chdir({str(tmp_path / 'outside')!r})\n{code}"
    assert under_layer(code, folder, rate=1, errors=["EIO"]) == ""


def test_layer_has_so_much_room_and_takes_a_part_of_what_is_written(tmp_path: Path) -> None:
    code = (
        "import os; f = os.open('new', os.O_WRONLY | os.O_CREAT)\n"
        + "print(os.write(f, b'1234'))\n" * 3
    )
    said = under_layer(code, tmp_path, room=6)
    assert said.startswith("4\n2\n") and "No space left on device" in said
    said = under_layer("print(open('new', 'rb', 0).readinto(bytearray(6)))", tmp_path, short=1)
    assert 1 <= int(said) < 6
    code = "from pathlib import Path; Path('big').write_bytes(bytes(99999))"
    assert under_layer(code, tmp_path, short=0.5) == ""
    assert (tmp_path / "big").read_bytes() == bytes(99999), "who writes goes on after a part"


def test_layer_moves_the_clocks_and_the_boot(tmp_path: Path) -> None:
    code = "import time; t = [time.time() for _ in range(99)]; print(max(t) - min(t))"
    assert float(under_layer(code, tmp_path, clock_s=86400)) == pytest.approx(2 * 86400, abs=60)
    code = "import time; a = time.monotonic(); time.sleep(0.02); print(time.monotonic() - a)"
    assert float(under_layer(code, tmp_path, haste=600)) >= 12
    code = "from pipeline import ledger; print(ledger.boot_id())"
    code = f"import sys; sys.path.insert(0, {str(PROJECT)!r})\n{code}"
    assert under_layer(code, tmp_path, boot="another") == "another\n"


def test_table_counts_a_try_once_and_names_what_was_not_tried() -> None:
    tally = Tally()
    tally.count("a kill", "here", [])
    tally.count("a kill", "there", [Problem("lost", "a"), Problem("lost", "b")])
    tally.leave_out("a mount", "nobody may")
    tally.saw("a kill", "score", "score: error: no space: /a/b_1.txt; free some")
    tally.saw("a kill", "score", "score: error: no space: /c/d_2.txt; free some")
    text = tally.table()
    assert text[0].split() == ["fault", "tried", "lost", "wrong", "hung"]
    assert text[1].split() == ["a", "kill", "2", "1", "0", "0"]
    assert text[2].split() == ["a", "mount", "0", "-", "-", "-"]
    assert "not tried: a mount: nobody may" in text
    assert sum("no space" in line for line in text) == 1
    assert "lost: a kill, there: a" in text
    assert not tally.good


def test_short_run_over_real_stages_loses_nothing(tmp_path: Path) -> None:
    faults = ("kill", "ctrl-c", "power-cut", "full-disk", "cut", "worker-killed", "failing")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "tests.faults", "--kills", "3", "--images", "12"),
            *("--seed", "39", "--work-dir", str(tmp_path), "--only", *faults),
            *("--stages", "preprocess", "benchmark binary"),
        ],
        cwd=PROJECT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "killed and run again: 3 of 3 identical to the undisturbed run" in done.stdout
    assert list(tmp_path.iterdir()) == [], "what it made is removed where all was well"
