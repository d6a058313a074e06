"""`run_all.sh` under attack: two at once, killed anywhere, names that are code, planted modules."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.test_run_all import PROJECT, WHOLE, Project, names, project

assert project  # a fixture

LOCK = ".run_all.lock"
# Reads well as a word of a shell, as a pattern, as an option and as two lines.
NAME = "-n 'a' \"b\" $(touch pwned) `touch pwned` * ?\n; touch pwned #"


class Running:
    """A run whose stage waits until it is told to end."""

    def __init__(self, project: Project, *options: str, script: str = "get_info.py") -> None:
        self.project = project
        self.here = project.work / "here"
        wait = project.folder / "wait.txt"
        wait.write_text(script)
        self.messages = project.folder / "messages"
        with self.messages.open("w") as messages:
            self.process = subprocess.Popen(
                [project.folder / "run_all.sh", *options],
                stdout=subprocess.DEVNULL,
                stderr=messages,
                start_new_session=True,
            )
        wait_until(lambda: self.here.exists() and self.here.read_text() != "")
        self.stage = int(self.here.read_text())
        wait.unlink()

    def end(self, number: int, group: bool = True) -> tuple[int, str]:
        """Send a signal to the whole group, or to the shell alone; return its code and stderr."""
        (os.killpg if group else os.kill)(self.process.pid, number)
        return self.process.wait(30), self.messages.read_text()


@pytest.fixture
def running(project: Project) -> Iterator[Running]:
    run = Running(project)
    yield run
    for process in (run.process.pid, run.stage):
        try:
            os.kill(process, signal.SIGKILL)
        except ProcessLookupError:
            continue
    run.process.wait()


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def is_alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except FileNotFoundError:
        return False


def left_over(project: Project) -> list[str]:
    ends = (".lock", ".partial")
    return [path.name for path in project.work.rglob("*") if path.name.endswith(ends)]


# Two at once


def test_second_run_is_refused_at_once_with_the_number_of_the_first(running: Running) -> None:
    calls = names(running.project.calls())
    done = running.project.run(code=1)
    first = running.process.pid
    assert done.stderr == (
        f"run_all.sh: error: process {first} works in {running.project.work}; wait for its end,"
        f" stop it (kill {first}), or give another --work-dir\n"
    )
    assert calls == WHOLE[:2]
    assert running.project.calls() == []
    # The first one's lock is as it was.
    assert running.project.run(code=1).stderr == done.stderr


def test_runs_in_two_work_folders_go_side_by_side(running: Running, tmp_path: Path) -> None:
    running.project.run("--work-dir", str(tmp_path / "another"))
    assert running.process.poll() is None


def test_dry_run_asks_nobody_and_leaves_nothing(running: Running) -> None:
    before = sorted(running.project.work.rglob("*"))
    running.project.run("--dry-run")
    assert sorted(running.project.work.rglob("*")) == before


def test_stage_that_outlives_its_run_keeps_the_folder_and_is_named(running: Running) -> None:
    assert running.end(signal.SIGKILL, group=False)[0] == -signal.SIGKILL
    done = running.project.run(code=1)
    assert f"error: process {running.stage} works in " in done.stderr
    assert done.stderr.count("\n") == 1
    os.kill(running.stage, signal.SIGKILL)
    wait_until(lambda: not is_alive(running.stage))
    running.project.run()
    assert left_over(running.project) == []


@pytest.mark.parametrize("content", ["", "1\n", "our own", "4194304\n"])
def test_lock_file_that_nobody_holds_is_taken_over(project: Project, content: str) -> None:
    project.work.mkdir()
    content = f"{os.getpid()}\n" if content == "our own" else content
    (project.work / LOCK).write_text(content)  # whoever has that number now is somebody else
    assert project.run("--only", "sample", "--quiet").stderr == ""
    assert left_over(project) == []


@pytest.mark.parametrize("kind", ["link", "link to nothing", "hard link", "text", "folder", "pipe"])
def test_what_is_no_lock_is_neither_followed_nor_emptied_nor_removed(
    project: Project, tmp_path: Path, kind: str
) -> None:
    project.work.mkdir()
    place, target = project.work / LOCK, tmp_path / "mine"
    target.write_text("12345\n")
    match kind:
        case "link":
            place.symlink_to(target)
        case "link to nothing":
            place.symlink_to(tmp_path / "nothing")
        case "hard link":
            place.hardlink_to(target)
        case "text":
            place.write_text("12345 bottles\n")
        case "folder":
            place.mkdir()
        case "pipe":
            os.mkfifo(place)
    before = place.lstat()
    done = project.run(code=1)
    assert done.stderr == (
        f"run_all.sh: error: {place} is no lock; move it, or give another --work-dir\n"
    )
    assert target.read_text() == "12345\n"
    assert not (tmp_path / "nothing").exists()
    after = place.lstat()
    assert (after.st_ino, after.st_size) == (before.st_ino, before.st_size)
    assert project.calls() == []


def test_lock_goes_with_the_run_be_it_good_or_bad(project: Project) -> None:
    project.fail_at("get_info.py")
    project.run(code=7)
    assert left_over(project) == []
    (project.folder / "fail").unlink()
    project.run()
    assert left_over(project) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_speeds_can_be_seen_in_a_folder_that_cannot_be_written(project: Project) -> None:
    project.run()
    project.work.chmod(0o555)
    try:
        assert "speed of" in project.run("--only", "speed").stdout
    finally:
        project.work.chmod(0o755)


# Killed


@pytest.mark.parametrize("script", ["vovnet39_pth2onnx.py", "get_info.py", "benchmark.py"])
def test_killed_run_goes_on_at_the_stage_that_was_cut_off(project: Project, script: str) -> None:
    running = Running(project, script=script)
    assert running.end(signal.SIGKILL)[0] == -signal.SIGKILL
    done = WHOLE.index(script.removesuffix(".py"))
    assert names(project.calls()) == WHOLE[:done]
    assert project.run().stderr.count("up to date: ") == done + 1  # and the sample
    assert names(project.calls()) == WHOLE[done:]
    assert left_over(project) == []


def test_interrupted_run_leaves_no_lock_and_goes_on(running: Running) -> None:
    code, errors = running.end(signal.SIGINT)
    # The stage says it; the stand-in does not.
    assert code == 130
    assert errors.splitlines()[-1].startswith("python3 ") and "get_info.py" in errors
    assert left_over(running.project) == []
    running.project.calls()
    running.project.run()
    assert names(running.project.calls()) == WHOLE[2:]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signal_to_the_run_alone_ends_its_stage_too(running: Running, number: int) -> None:
    assert running.end(number, group=False)[0] == -number
    wait_until(lambda: not is_alive(running.stage))
    running.project.run()
    assert left_over(running.project) == []


def test_force_begins_anew_what_can_go_on(project: Project) -> None:
    project.run("--force", "--limit", "3")
    calls = {call[0]: call[1:] for call in project.calls()}
    assert calls["vovnet_torch_preprocess.py"][-3:] == ["--limit", "3", "--force"]
    assert calls["benchmark.py"][-1] == "-force"
    # What was made by force is none the less what the plain command makes.
    assert project.run("--limit", "3").stderr.count("up to date: ") == 8


# Names and surroundings


def test_no_name_is_taken_for_code_for_a_pattern_or_for_an_option(tmp_path: Path) -> None:
    project = Project(tmp_path / NAME.replace("\n", " ") / f"end\n{NAME}\n")
    data = tmp_path / NAME
    images = data / NAME
    images.mkdir(parents=True)
    (images / f"{NAME}.JPEG").write_bytes(b"mine")
    (data / "-w").write_bytes(b"mine")
    (data / f"{NAME}.txt").write_text("one 0\n")
    options = ["--weights", "-w", f"--images={NAME}", "--labels", f"{NAME}.txt"]
    options += [f"--work-dir=--{NAME}\n"]
    project.run(*options, folder=data)
    work = data / f"--{NAME}\n"
    assert project.calls()[0] == ["vovnet39_pth2onnx.py", str(data / "-w"), "vovnet39.onnx"]
    assert (work / "result_bs16.json").exists()
    assert not list(tmp_path.rglob("pwned"))
    assert not (Path.cwd() / "pwned").exists()
    printed = project.run(*options, "--dry-run", folder=data).stdout
    pasted = subprocess.run(["bash", "-e"], input=printed, text=True, capture_output=True)
    assert pasted.returncode == 0, pasted.stderr
    assert names(project.calls()) == WHOLE
    assert not list(tmp_path.rglob("pwned"))


@pytest.mark.parametrize("inside", [False, True])
def test_modules_and_programs_that_lie_in_the_work_folder_are_not_run(
    project: Project, inside: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.work.mkdir()
    for name in ("json", "random", "numpy", "argparse", "sitecustomize", "usercustomize", "signal"):
        (project.work / f"{name}.py").write_text("open('pwned', 'w')\n")
    for name in ("env", "python3", "rm"):
        (project.work / name).write_text("#!/bin/sh\necho >pwned\n")
        (project.work / name).chmod(0o755)
    (project.folder / "cli/json.py").write_text("open('pwned', 'w')\n")
    for name in ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH"):
        # As `X=$X:/more` leaves them where there was none: an empty entry is the current folder.
        monkeypatch.setenv(name, f":.::work:{os.environ.get(name, '')}:")
    monkeypatch.setenv("CDPATH", f".:{project.work}")
    monkeypatch.setenv("PYTHONSAFEPATH", "1")
    monkeypatch.setenv("PYTHONINSPECT", "1")
    project.run(folder=project.work if inside else None)
    assert names(project.calls()) == WHOLE
    assert not list(project.folder.rglob("pwned"))


# Records that nobody vouches for

GOOD = {"schema": 1, "status": "complete", "good": True, "stage": "x", "verdict": ""}
HOSTILE = {
    "no JSON": b"\xff\x00",
    "a number": b"1",
    "deep": b"[" * 200_000,
    "long number": b'{"schema": ' + b"1" * 10_000 + b"}",
    "nothing in it": json.dumps(GOOD).encode(),
    "wrong types": json.dumps(GOOD | dict.fromkeys(["command", "inputs", "outputs"], 5)).encode(),
    "versions of nothing": b"VERSIONS",
    "an input with a zero byte": b"ZERO",
    "an input that is a device": b"DEVICE",
    "an input that is a pipe": b"PIPE",
    "an entry without a path": b"ENTRY",
}


@pytest.mark.parametrize("case", [*HOSTILE, "a folder", "a pipe", "a link to itself", "huge"])
def test_hostile_record_means_that_its_output_is_made_anew(tmp_path: Path, case: str) -> None:
    from pipeline import identity

    (tmp_path / "script.py").touch()
    os.mkfifo(tmp_path / "fifo")
    place = tmp_path / "out.record.json"
    fits = GOOD | {
        "command": [str(tmp_path / "script.py")],
        "folder": str(tmp_path),
        "code_sha256": identity.code_digest(),
        "versions": {"python": sys.version.split()[0]},
        "inputs": [],
        "outputs": [],
    }
    made: dict[bytes, dict[str, object]] = {
        b"VERSIONS": {"versions": {"": "1"}},
        b"ZERO": {"inputs": [{"path": "a\0b"}]},
        b"DEVICE": {"inputs": [{"path": "/dev/zero"}]},
        b"PIPE": {"inputs": [{"path": "fifo"}]},
        b"ENTRY": {"inputs": [{}]},
    }
    if case == "a folder":
        place.mkdir()
    elif case == "a pipe":
        os.mkfifo(place)
    elif case == "a link to itself":
        place.symlink_to(place)
    elif case == "huge":
        with place.open("wb") as file:
            file.truncate(1 << 40)
    else:
        text = HOSTILE[case]
        place.write_bytes(json.dumps(fits | made[text]).encode() if text in made else text)
    done = current(tmp_path)
    assert done.returncode == 1
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert done.stderr.count("\n") <= 1


def current(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pipeline", "current", "out", "script.py"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(PROJECT), "PYTHONSAFEPATH": "1"},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_lock_that_a_stage_left_at_its_very_end_goes_with_the_next_run(project: Project) -> None:
    project.run()
    (project.work / ".vovnet39.onnx.lock").write_text("1\n")
    assert "up to date: vovnet39.onnx" in project.run().stderr
    assert left_over(project) == []
