"""The front door of the diagnosis: what it takes, refuses, writes, and where odd files lead it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cli import diagnose_command
from tests.conftest import PROJECT
from tests.diagnosis.ground import Ground


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Ground:
    return Ground(tmp_path_factory.mktemp("a ground"))


def diagnose(*words: object, cwd: Path = PROJECT) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pipeline", "diagnose", *map(str, words)]
    env = os.environ | {"PYTHONPATH": str(PROJECT)}
    return subprocess.run(
        command, cwd=cwd, env=env, capture_output=True, text=True, errors="surrogateescape"
    )


def test_results_go_to_stdout_and_the_report_has_every_step(ground: Ground, tmp_path: Path) -> None:
    labels = ground.label_file("some labels", ground.labels)
    report = tmp_path / "a report.json"
    done = diagnose(
        *("--images", ground.images, "--model", ground.classifier, "--bins", ground.right_bins),
        *("--dumps", ground.right_dumps, "--labels", labels, "--out", report),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert lines[-1].startswith("OK: nothing parts (22 of 22 images)")
    assert lines[-1].endswith(f" -> {report}")
    content = json.loads(report.read_text())
    assert content["schema"] == "vovnet39-diagnosis/1"
    assert (content["good"], content["first"]) == (True, None)
    names = [step["step"] for step in content["steps"]]
    assert names == [
        line.split("  ")[0].strip() or line.strip().split("  ")[0] for line in lines[1:-1]
    ]
    assert content["sentence"] in lines[-1]
    assert {"levels", "sqnr_db", "mean, std"} <= content["units"].keys()


def test_a_found_fault_is_in_the_report_with_its_numbers(ground: Ground, tmp_path: Path) -> None:
    def halves(path: Path) -> np.ndarray:
        from tests.diagnosis.ground import cropped, rgb

        return ((cropped(rgb(path)).astype(np.float32) / 255 - 0.25) / 0.75).transpose(2, 0, 1)

    report = tmp_path / "report.json"
    bins = ground.bins("quarters", halves)
    done = diagnose("--images", ground.images, "--bins", bins, "--out", report, "--limit", 12)
    assert done.returncode == 1
    content = json.loads(report.read_text())
    assert content["first"] == "mean and std"
    assert content["looked_at"] == "12 of 22 images"
    step = next(step for step in content["steps"] if step["step"] == "mean and std")
    assert step["verdict"] == "explained"
    assert step["figures"]["mean"] == pytest.approx([0.25] * 3, abs=1e-4)
    assert step["figures"]["std"] == pytest.approx([0.75] * 3, abs=1e-4)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "required: --images"),
        (("--images", "x"), "give what to examine"),
        (("--images", "x", "--bins", "a", "--info", "b"), "not both"),
        (("--images", "x", "--bins", "a", "--checkpoint", "c"), "--checkpoint goes with --model"),
        (("--images", "x", "--bins", "a", "--labels", "c"), "--labels goes with"),
        (("--images", "x", "--bins", "a", "--arch", "vovnet93"), "not one of"),
        (("--images", "x", "--bins", "a", "--limit", "0"), "whole number"),
        (("--images", "x", "--bins", "a", "--precison", "bf16"), "did you mean --precision?"),
        (("--images", "x", "--bins", "a", "--engine", "auto"), "go with --model"),
    ],
)
def test_a_wrong_command_line_is_one_line(words: tuple[str, ...], said: str) -> None:
    done = diagnose(*words)
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1 and not done.stdout


def _odd_inputs(ground: Ground, folder: Path) -> dict[str, list[object]]:
    """Return command lines of things that are not what they should be."""
    empty = folder / "empty"
    empty.mkdir()
    noise = folder / "noise.onnx"
    noise.write_bytes(os.urandom(3000))
    cut = folder / "cut.onnx"
    cut.write_bytes(ground.classifier.read_bytes()[:-100])
    words = folder / "words.txt"
    words.write_text("no labels here\n")
    images = ["--images", ground.images]
    return {
        "no such folder of images": ["--images", folder / "nowhere", "--bins", ground.right_bins],
        "an empty folder of images": ["--images", empty, "--bins", ground.right_bins],
        "an empty folder of bins": [*images, "--bins", empty],
        "no such folder of bins": [*images, "--bins", folder / "nowhere"],
        "a folder of bins that is a file": [*images, "--bins", words],
        "a list that is none": [*images, "--info", words],
        "a model of noise": [*images, "--model", noise],
        "a model cut short": [*images, "--model", cut],
        "no such model": [*images, "--model", folder / "gone.onnx"],
        "a checkpoint that is a model": [
            *images,
            "--model",
            ground.classifier,
            "--checkpoint",
            ground.classifier,
        ],
        "an empty folder of dumps": [*images, "--model", ground.classifier, "--dumps", empty],
        "no such folder of dumps": [
            *images,
            "--model",
            ground.classifier,
            "--dumps",
            folder / "nowhere",
        ],
        "labels that are none": [*images, "--dumps", ground.right_dumps, "--labels", words],
        "a report in no folder": [
            *images,
            "--bins",
            ground.right_bins,
            "--out",
            folder / "nowhere" / "r.json",
        ],
        "a report over an input": [
            *images,
            "--model",
            ground.classifier,
            "--out",
            ground.classifier,
        ],
    }


def test_what_cannot_be_read_is_one_line(ground: Ground, tmp_path: Path) -> None:
    before = ground.classifier.read_bytes()
    for name, words in _odd_inputs(ground, tmp_path).items():
        done = diagnose(*words, "--quiet")
        assert done.returncode == 1, name
        assert not done.stdout, name
        assert len(done.stderr.splitlines()) == 1, (name, done.stderr)
        assert "unexpected" not in done.stderr and "; " in done.stderr, (name, done.stderr)
    assert ground.classifier.read_bytes() == before


def _odd_bins() -> dict[str, Callable[[Path], None]]:
    """Return what may become of a file of a prepared picture."""
    rng = np.random.default_rng(1)

    def write(data: bytes) -> Callable[[Path], None]:
        def spoil(path: Path) -> None:
            path.write_bytes(data)

        return spoil

    def lengthen(path: Path) -> None:
        path.write_bytes(path.read_bytes() + b"\0")

    full = 602_112
    return {
        "empty": write(b""),
        "noise": write(rng.bytes(full)),
        "zeros": write(bytes(full)),
        "of nan": write(np.full(full // 4, np.nan, np.float32).tobytes()),
        "of infinity": write(np.full(full // 4, np.inf, np.float32).tobytes()),
        "text": write(b"1.0 2.0 3.0\n" * 100),
        "a NumPy header only": write(b"\x93NUMPY\x01\x00"),
        "a pickle under a NumPy header": write(
            b"\x93NUMPY\x01\x00\x46\x00{'descr': '|O', 'fortran_order': False, 'shape': (1,), }"
            + b" " * 12
            + b"\n"
        ),
        "one byte too many": lengthen,
    }


@pytest.mark.parametrize("kind", _odd_bins())
def test_files_of_whatever_content_lead_to_a_verdict(
    ground: Ground, tmp_path: Path, kind: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """All of them, and one of them: never an error, and never a good verdict."""
    for count in (len(ground.names), 1):
        folder = tmp_path / f"bins{count}"
        shutil.copytree(ground.right_bins, folder)
        for name in ground.names[:count]:
            _odd_bins()[kind](folder / f"{name}.bin")
        words = ["--images", str(ground.images), "--bins", str(folder), "--quiet"]
        assert diagnose_command.main(words) == 1
        said = capfd.readouterr()
        assert not said.err
        assert said.out.splitlines()[-1].startswith("FAILED: the .bin files")
        if count == 1:
            assert ground.names[0] in said.out


def test_names_may_have_any_bytes(ground: Ground, tmp_path: Path) -> None:
    images, bins = tmp_path / "the images", tmp_path / "the bins"
    images.mkdir()
    bins.mkdir()
    for number, name in enumerate(ground.names[:6]):
        odd = os.fsdecode(b"a \xe9 " + str(number).encode())
        path = next(ground.images.glob(f"{name}.*"))
        shutil.copy(path, images / f"{odd}.JPEG")
        shutil.copy(ground.right_bins / f"{name}.bin", bins / f"{odd}.bin")
    report = tmp_path / "report.json"
    done = diagnose("--images", images, "--bins", bins, "--out", report)
    assert done.returncode == 0, done.stdout + done.stderr
    (bins / f"{odd}.bin").unlink()
    done = diagnose("--images", images, "--bins", bins, "--out", report)
    assert done.returncode == 1
    assert "a \\udce9 5" in done.stdout
    assert json.loads(report.read_bytes())["first"] == "files"


def test_images_that_cannot_be_decoded_are_left_out(ground: Ground, tmp_path: Path) -> None:
    images = tmp_path / "images"
    shutil.copytree(ground.images, images)
    (images / "img1.JPEG").write_bytes(b"no picture")
    done = diagnose("--images", images, "--bins", ground.right_bins)
    assert done.returncode == 0
    assert "21 of 22 images" in done.stdout
    assert "1 image cannot be decoded" in done.stderr


@pytest.mark.slow
def test_v_tells_every_layer(ground: Ground) -> None:
    from tests.diagnosis.network import checkpoint

    own = ground.folder / "own.onnx"
    from pipeline import export

    export.export(checkpoint(ground), own, "vovnet27_slim")
    words = ("--images", ground.images, "--model", own, "--checkpoint", checkpoint(ground))
    done = diagnose(*words, "--arch", "vovnet27_slim", "-v")
    assert done.returncode == 0, done.stderr
    assert "stage5.OSA5_1.concat.OSA5_1_concat: max abs" in done.stderr
    assert "max abs" not in diagnose(*words, "--arch", "vovnet27_slim", "-q").stderr
