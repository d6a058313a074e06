"""Preprocessing where the machine fails it: one line, a code, and everything complete kept."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import machine, prepare
from pipeline.errors import PipelineError
from tests.conftest import PROJECT
from tests.preprocessing import (
    MANY,
    SCRIPT,
    load,
    members,
    outputs,
    preprocess,
    start_slow_run,
    wait_for,
    write_pictures,
)

# A file `crash 11` has a decoder end its process by that signal, and `spin` has it work for ever.
DECODER = """
import os, signal
import PIL.Image
decode, limit = PIL.Image.open, signal.setitimer

def open_image(file, *rest, **options):
    data = file.getvalue() if hasattr(file, "getvalue") else b""
    while data == b"spin":
        pass
    if data.startswith(b"crash "):
        os.kill(os.getpid(), int(data.split()[1]))
    return decode(file, *rest, **options)

PIL.Image.open = open_image
signal.setitimer = lambda which, seconds: limit(which, min(seconds, 1.0))
"""
NO_MEMORY = """
import runpy, sys
from pipeline import machine
machine.available_memory = lambda: 1_000_000_000
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def with_decoder(folder: Path) -> dict[str, str]:
    """Return the variables that let the stage have the decoder above."""
    (folder / "hook").mkdir()
    (folder / "hook" / "sitecustomize.py").write_text(DECODER)
    return {"PYTHONPATH": str(folder / "hook")}


def end(process: subprocess.Popen[str]) -> str:
    """Wait for a run that is to fail; return the one line that it says."""
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert errors.count("\n") == 1, errors
    wait_for(lambda: not members(process.pid))
    return errors


def test_images_that_crash_the_decoder_are_refused_and_the_others_prepared(tmp_path: Path) -> None:
    write_pictures(tmp_path / "in", " ".join(f"{number:02}.jpg" for number in range(40)))
    numbers = (signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGFPE)
    for place, number in enumerate(numbers):
        (tmp_path / "in" / f"{7 * place + 1:02}.jpg").write_text(f"crash {int(number)}")
    (tmp_path / "in" / "39.jpg").write_text("spin")
    done = preprocess(tmp_path, "in", "out", "--workers", "2", **with_decoder(tmp_path))
    assert done.returncode == 1
    assert done.stdout.startswith("FAILED: 35 of 40 images prepared, 5 refused")
    assert done.stderr.splitlines() == [
        *(
            f"refused: in/{7 * place + 1:02}.jpg cannot be decoded "
            f"(the decoder crashed: {number.name})"
            for place, number in enumerate(numbers)
        ),
        "refused: in/39.jpg cannot be decoded (it took more than 120 s)",
    ]
    assert load(tmp_path / "out")["counts"]["not_done"] == 0
    missing = {f"{number}.bin" for number in ("01", "08", "15", "22", "39")}
    assert set(outputs(tmp_path / "out")) == {f"{n:02}.bin" for n in range(40)} - missing
    assert {len(data) for data in outputs(tmp_path / "out").values()} == {602_112}


def test_decoder_that_does_nothing_but_crash_ends_the_run(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for number in range(12):
        (tmp_path / "in" / f"{number}.jpg").write_text("crash 11")
    done = preprocess(tmp_path, "in", "out", "--workers", "2", **with_decoder(tmp_path))
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "was killed by SIGSEGV" in done.stderr
    assert "its libraries may not fit this machine" in done.stderr


def test_workers_that_do_not_fit_into_the_memory_are_refused(tmp_path: Path) -> None:
    write_pictures(tmp_path / "in", " ".join(f"{number}.jpg" for number in range(20)))
    command = [sys.executable, "-c", NO_MEMORY, str(SCRIPT), "in", "out", "--workers", "16"]
    environment = os.environ | {"PYTHONPATH": str(PROJECT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    each = prepare.WORKER_BYTES / 1e6
    assert (
        f"16 workers need {16 * each:,.0f} MB of memory, {each:,.0f} MB each, and 1,000 MB are "
        f"free; give --workers {1_000_000_000 // prepare.WORKER_BYTES} or fewer\n"
    ) in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_workers_that_nobody_asked_for_are_as_many_as_fit(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(machine, "usable_cores", lambda: 64)
    monkeypatch.setattr(machine, "available_memory", lambda: 5 * prepare.WORKER_BYTES + 1)
    assert prepare.fitting(None, 3) == 3
    assert prepare.fitting(5, 1000) == 5
    assert capsys.readouterr().err == ""
    assert prepare.fitting(None, 1000) == 5
    assert "preprocess: 5 workers instead of 64, for " in capsys.readouterr().err
    with pytest.raises(PipelineError, match="give --workers 5 or fewer"):
        prepare.fitting(6, 1000)
    monkeypatch.setattr(machine, "available_memory", lambda: 0)
    assert prepare.fitting(1, 1000) == prepare.fitting(None, 1000) == 1
    monkeypatch.setattr(machine, "available_memory", lambda: None)
    assert prepare.fitting(None, 1000) == 64


def test_image_that_vanishes_midway_is_refused(tmp_path: Path) -> None:
    process = start_slow_run(tmp_path)
    (tmp_path / "in" / f"{MANY - 1}.jpg").unlink()
    printed, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert errors == f"refused: in/{MANY - 1}.jpg cannot be read: No such file or directory\n"
    assert f"{MANY - 1} of {MANY} images prepared, 1 refused" in printed


def test_image_folder_that_vanishes_midway_ends_the_run(tmp_path: Path) -> None:
    process = start_slow_run(tmp_path)
    wait_for(lambda: len(list((tmp_path / "out").glob("*.bin"))) > 40)
    (tmp_path / "in").rename(tmp_path / "elsewhere")
    said = end(process)
    assert "in has vanished while its images were read (" in said
    (tmp_path / "elsewhere").rename(tmp_path / "in")
    again = preprocess(tmp_path, "in", "out")
    assert again.returncode == 0
    assert " kept from before)" in again.stdout


def test_output_folder_that_vanishes_midway_ends_the_run(tmp_path: Path) -> None:
    process = start_slow_run(tmp_path)
    (tmp_path / "out").rename(tmp_path / "elsewhere")
    assert "out was removed while it was filled; run the same command again" in end(process)
    assert not (tmp_path / "out").exists()
    shutil.rmtree(tmp_path / "in")
    write_pictures(tmp_path / "in", "a.jpg")
    assert preprocess(tmp_path, "in", "out").returncode == 0
    assert set(outputs(tmp_path / "out")) == {"a.bin"}


def test_outputs_that_vanish_midway_are_missed(tmp_path: Path) -> None:
    process = start_slow_run(tmp_path)
    wait_for(lambda: len(list((tmp_path / "out").glob("*.bin"))) > 40)
    (tmp_path / "out" / "000.bin").unlink()
    assert "000.bin vanished from out while it was filled (" in end(process)
    assert load(tmp_path / "out")["status"] == "failed"
    again = preprocess(tmp_path, "in", "out")
    assert again.stdout.startswith(
        f"OK: {MANY} of {MANY} images prepared ({MANY - 1} kept from before)"
    )


def bound_by_permissions() -> None:
    """Take from this process, should it be root's, the right to pass over permissions."""
    for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
        ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP


@pytest.mark.parametrize(("closed", "said"), [("in", "Permission denied: in"), ("out", "out/")])
def test_folder_without_permission_is_one_line(tmp_path: Path, closed: str, said: str) -> None:
    write_pictures(tmp_path / "in", "a.jpg b.jpg")
    (tmp_path / "out").mkdir()
    (tmp_path / closed).chmod(0o300 if closed == "in" else 0o500)
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "in", "out"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        preexec_fn=bound_by_permissions,
    )
    (tmp_path / closed).chmod(0o700)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "Permission denied" in done.stderr
    assert said in done.stderr
    assert done.stderr.endswith("; check the permissions\n")
    assert outputs(tmp_path / "out") == {}


def test_image_without_permission_is_refused(tmp_path: Path) -> None:
    write_pictures(tmp_path / "in", "a.jpg b.jpg")
    (tmp_path / "in" / "a.jpg").chmod(0)
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "in", "out"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        preexec_fn=bound_by_permissions,
    )
    assert done.stderr == "refused: in/a.jpg cannot be read: Permission denied\n"
    assert "1 of 2 images prepared, 1 refused" in done.stdout


def test_full_disk_is_one_line_and_what_was_written_is_kept(tmp_path: Path) -> None:
    write_pictures(tmp_path / "in", " ".join(f"{number:02}.jpg" for number in range(40)))
    small = tmp_path / "small"
    small.mkdir()
    mounted = ["mount", "-t", "tmpfs", "-o", "size=6m", "none", str(small)]
    if subprocess.run(mounted, capture_output=True).returncode:
        pytest.skip("a small file system can be mounted by root only")
    try:
        done = preprocess(tmp_path, "in", "small/out", "--workers", "2")
        assert done.returncode == 1
        assert done.stderr.count("\n") == 1, done.stderr
        assert "No space left on device: small/" in done.stderr
        assert " of 40 images are prepared); free some space" in done.stderr
        whole = outputs(small / "out")
        assert 0 < len(whole) <= (6 << 20) // 602_112
        assert {len(data) for data in whole.values()} == {602_112}
        assert load(small / "out")["status"] in ("failed", "running")
        mounted[4] = "size=60m,remount"
        subprocess.run(mounted, check=True, capture_output=True)
        again = preprocess(tmp_path, "in", "small/out")
        assert again.returncode == 0, again.stderr
        assert " kept from before)" in again.stdout
        assert len(outputs(small / "out")) == 40
    finally:
        subprocess.run(["umount", str(small)], check=True)
