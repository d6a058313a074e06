"""What can go wrong while a model is written: killed, a full disk, an odd name."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from models_vovnet.vovnet import build
from tests.conftest import PROJECT

SLIM = "vovnet27_slim"
SCRIPT = PROJECT / "vovnet39_pth2onnx.py"
# The stage, stopped where a power cut or a killer might: as the new name is about to be given.
KILLED = """
import os, runpy, signal, sys
from pipeline import atomic
def die(*rest):
    os.kill(os.getpid(), signal.SIGKILL)
setattr(atomic, sys.argv[1], die)
sys.argv = sys.argv[2:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(5)
    path = tmp_path_factory.mktemp("weights") / "slim.pth"
    torch.save(build(SLIM, 5).state_dict(), path)
    return path


def export(
    weights: Path, target: str | bytes, folder: Path, limit: Callable[[], None] | None = None
) -> subprocess.CompletedProcess[str]:
    command: list[str | bytes | Path] = [sys.executable, SCRIPT, weights, target, "--arch", SLIM]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, preexec_fn=limit, errors="replace"
    )


@pytest.mark.parametrize("place", ["rename", "_sync_folder"])
def test_a_killed_export_leaves_the_old_model_or_the_new_one(
    place: str, weights: Path, tmp_path: Path
) -> None:
    (tmp_path / "v.onnx").write_bytes(b"the old model")
    stage = [str(SCRIPT), str(weights), "v.onnx", "--arch", SLIM]
    command = [sys.executable, "-c", KILLED, place, *stage]
    done = subprocess.run(command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(PROJECT)})
    assert done.returncode == -signal.SIGKILL
    now = (tmp_path / "v.onnx").read_bytes()
    assert now == b"the old model" or place == "_sync_folder"
    assert export(weights, "v.onnx", tmp_path).returncode == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["v.onnx", "v.onnx.record.json"]
    if place == "_sync_folder":
        assert (tmp_path / "v.onnx").read_bytes() == now


def full() -> None:
    """Let no file grow beyond 1 MiB; the model has 13."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))


def test_a_disk_that_fills_leaves_the_old_model_and_says_so(weights: Path, tmp_path: Path) -> None:
    (tmp_path / "v.onnx").write_bytes(b"the old model")
    done = export(weights, "v.onnx", tmp_path, limit=full)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "File too large: v.onnx; raise the limit" in line
    assert [path.name for path in tmp_path.iterdir()] == ["v.onnx"]
    assert (tmp_path / "v.onnx").read_bytes() == b"the old model"


def test_a_device_without_space_is_no_place_for_a_model(weights: Path, tmp_path: Path) -> None:
    done = export(weights, "/dev/full", tmp_path)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "/dev/full is no regular file" in line


@pytest.mark.parametrize("name", [b"two\nlines.onnx", b"\xff\xfe.onnx", b"-", b" a b ", b"v"])
def test_a_model_may_have_any_name(name: bytes, weights: Path, tmp_path: Path) -> None:
    done = export(weights, b"./" + name, tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 1
    there = {os.fsencode(path.name) for path in tmp_path.iterdir()}
    assert there == {name, name + b".record.json"}


@pytest.mark.parametrize("length", [245, 250, 256])
def test_a_name_too_long_for_its_record_is_refused_before_the_work(
    length: int, weights: Path, tmp_path: Path
) -> None:
    done = export(weights, "x" * length, tmp_path)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "too long" in line
    assert "give a shorter name" in line
    assert list(tmp_path.iterdir()) == []


def test_a_link_that_leads_to_itself_is_told(weights: Path, tmp_path: Path) -> None:
    (tmp_path / "v.onnx").symlink_to("v.onnx")
    done = export(weights, "v.onnx", tmp_path)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "Traceback" not in done.stderr
