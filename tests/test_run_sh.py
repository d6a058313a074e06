"""`tests/run.sh`, the command that checks everything: its steps, its exit code, its last line."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parent.parent

# Takes the place of the environment's Python: says what it was called with, and fails on request.
PYTHON = """#!/bin/bash
echo "called: $*"
[[ $2 != pytest ]] || echo "3 passed in 0.1s"
[[ " ${FAILING-} " != *" $2 "* ]]
"""
SHELLCHECK = """#!/bin/bash
printf 'checked: %s\\n' "${@:2}" | sort
[[ " ${FAILING-} " != *" shellcheck "* ]]
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "a project"
    for name in ("tests", ".ci", "cli", "bin", ".venv", "work"):
        (folder / name).mkdir(parents=True)
    for name in ("tests/run.sh", ".ci/run"):
        shutil.copy(PROJECT / name, folder / name)
    (folder / "env.sh").write_text('echo "set up"; PATH=$PWD/bin:$PATH; return "${SET_UP-0}"\n')
    (folder / "cli/make_env.sh").write_text('echo "made: $*"\n')
    for hidden in (".venv/no.sh", "work/no.sh"):
        (folder / hidden).touch()
    for name, text in (("python3", PYTHON), ("shellcheck", SHELLCHECK)):
        (folder / "bin" / name).write_text(text)
        (folder / "bin" / name).chmod(0o755)
    return folder


def run(project: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", project / "tests/run.sh", *arguments],
        cwd=project.parent,
        env=os.environ | variables,
        capture_output=True,
        text=True,
    )


def test_all_steps_run_in_order_and_the_summary_of_pytest_is_the_last_line(project: Path) -> None:
    done = run(project, "-k", "two words")
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stdout.splitlines() if line] == [
        "[1/6] environment",
        "set up",
        "made: tests/requirements.txt",
        "[2/6] ruff check",
        "called: -m ruff check .",
        "[3/6] ruff format",
        "called: -m ruff format --check .",
        "[4/6] mypy",
        "called: -m mypy",
        "[5/6] shellcheck",
        "checked: ./cli/make_env.sh",
        "checked: ./env.sh",
        "checked: ./tests/run.sh",
        "checked: .ci/run",
        "4 scripts are clean",
        "[6/6] pytest",
        "called: -m pytest --numprocesses=2 --dist=loadfile -k two words",
        "3 passed in 0.1s",
    ]


@pytest.mark.parametrize("failing", ["ruff", "mypy", "shellcheck", "pytest", "ruff mypy"])
def test_failed_step_makes_the_exit_code_1_and_stops_none_of_the_others(
    project: Path, failing: str
) -> None:
    done = run(project, FAILING=failing)
    assert done.returncode == 1
    assert [f"[{number}/6]" in done.stdout for number in range(1, 7)] == [True] * 6
    assert done.stdout.endswith("3 passed in 0.1s\n")
    before = [tool for tool in failing.split() if tool != "pytest"]
    said = [line for line in done.stdout.splitlines() if line.startswith("failed before: ")]
    assert len(said) == bool(before)
    assert all(tool in line for line in said for tool in before)


def test_without_an_environment_nothing_else_is_tried(project: Path) -> None:
    done = run(project, SET_UP="3")
    assert done.returncode == 1
    assert "[2/6]" not in done.stdout


def test_ci_runs_the_same_command(project: Path) -> None:
    done = subprocess.run(
        ["bash", ".ci/run"], cwd=project, capture_output=True, text=True, env=os.environ
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == run(project).stdout
