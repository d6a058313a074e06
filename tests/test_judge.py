"""Judging reduced precisions: the figures, the limits, networks that judge nothing."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline import engines, judge, untrained
from pipeline.engines import Settings
from pipeline.judge import Judgement, Tally
from tests import convnets

PROJECT = Path(__file__).resolve().parent.parent
# OpenVINO and the kernels in it are told apart.
AS_ON_AVX2 = {"ONEDNN_MAX_CPU_ISA": "AVX2", "OV_CPU_MAX_ISA": "AVX2"}


def judge_py(cwd: Path, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pipeline", "judge", *map(str, arguments)]
    env = os.environ | {"PYTHONPATH": str(PROJECT)} | environment
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, env=env)


def logits(count: int, seed: int = 0, classes: int = 20) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal((count, classes)).astype(np.float32)


def tallied(
    expected: NDArray[np.float32],
    found: NDArray[np.float32],
    classes: NDArray[np.intp] | None = None,
) -> Tally:
    tally = Tally()
    labels = expected.argmax(1) if classes is None else classes
    for start in range(0, len(expected), 7):
        part = slice(start, start + 7)
        judge.add(tally, expected[part], found[part], labels[part])
    return tally


def judgement(tally: Tally, **changes: Any) -> Judgement:
    given = {"labelled": False, "max_drop": 1.0, "untrained": False} | changes
    return Judgement("int8", tally, **given)


def test_the_figures_are_those_of_their_definitions() -> None:
    expected = logits(301)
    found = expected + 0.3 * logits(301, seed=1)
    classes = np.random.default_rng(2).integers(0, 20, 301)
    tally = tallied(expected, found, classes)
    wanted = 10 * np.log10((expected.astype(float) ** 2).sum() / ((expected - found) ** 2).sum())
    assert judgement(tally).sqnr_db == pytest.approx(wanted, abs=1e-4)
    assert judgement(tally).agreement == (expected.argmax(1) == found.argmax(1)).mean()
    for rows, hits in ((expected, tally.reference_hits), (found, tally.candidate_hits)):
        order = np.argsort(-rows, axis=1, kind="stable")
        assert hits == [
            int((order[:, :top] == classes[:, None]).any(axis=1).sum()) for top in (1, 5)
        ]
    right, own_right = expected.argmax(1) == classes, found.argmax(1) == classes
    assert (tally.won, tally.lost) == ((~right & own_right).sum(), (right & ~own_right).sum())
    change = 100 * (own_right.mean() - right.mean())
    assert judgement(tally, labelled=True).change == pytest.approx(change)


def test_a_tenth_of_the_signal_as_noise_is_20_db() -> None:
    expected = logits(300)
    tally = tallied(expected, expected * np.float32(1.1))
    assert judgement(tally).sqnr_db == pytest.approx(20, abs=1e-3)
    assert judgement(tallied(expected, expected)).sqnr_db == math.inf


def test_the_interval_covers_the_change_as_often_as_it_says() -> None:
    rng = np.random.default_rng(6)
    for won, lost, count in ((0.01, 0.02, 500), (0.05, 0.05, 300), (0.02, 0.002, 1000)):
        drawn = rng.multinomial(count, [won, lost, 1 - won - lost], 4000)
        covered = 0
        for wins, losses, _ in drawn:
            low, high = judge.paired_interval(int(wins), int(losses), count)
            covered += low <= 100 * (won - lost) <= high
        assert 0.93 <= covered / len(drawn) <= 0.985


def with_agreement(share: float, count: int = 400) -> Tally:
    expected = logits(count)
    found = expected.copy()
    for row in range(round(count * (1 - share))):
        found[row, [expected[row].argmax(), expected[row].argmin()]] = expected[
            row, [expected[row].argmin(), expected[row].argmax()]
        ]
    tally = tallied(expected, found)
    tally.noise = tally.signal / 100  # 20 dB
    return tally


def test_trusted_is_what_keeps_every_limit() -> None:
    assert judgement(with_agreement(0.97)).outcome == "trusted"
    low = judgement(with_agreement(0.965))
    assert (low.outcome, low.failings()) == ("refused", ["agreement below 97%"])
    noisy = with_agreement(1)
    noisy.noise = noisy.signal / 10**1.499
    assert judgement(noisy).failings() == ["SQNR below 15 dB"]
    dropped = with_agreement(0.98)
    assert judgement(dropped, labelled=True).failings() == ["Top1 falls by more than 1 points"]
    assert judgement(dropped, labelled=True, max_drop=2.0).trusted
    assert judgement(dropped, labelled=False).trusted
    assert judgement(with_agreement(1, 299)).outcome == "too few"
    assert "too few to judge: 299 of 300" in str(judgement(with_agreement(1, 299)))
    assert judgement(with_agreement(1), untrained=True).outcome == "untrained"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_one_value_that_is_no_number_ruins_a_candidate(value: float) -> None:
    expected = logits(400)
    found = expected.copy()
    found[7, 3] = value
    broken = judgement(tallied(expected, found))
    assert broken.outcome == "refused"
    assert json.loads(json.dumps(broken.as_json(), allow_nan=False))["outcome"] == "refused"


@dataclass(frozen=True)
class Given:
    """A network and pictures, in a folder of their own."""

    folder: Path
    network: Path
    pictures: convnets.Pictures


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Given:
    folder = tmp_path_factory.mktemp("judged")
    return Given(
        folder,
        convnets.save_network(folder / "n.onnx"),
        convnets.write_pictures(folder / "pictures", 310, seed=4),
    )


def has_bf16() -> bool:
    openvino = pytest.importorskip("openvino")
    return "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def test_bf16_is_judged_by_a_command_and_the_figures_are_kept(given: Given, tmp_path: Path) -> None:
    if not has_bf16():
        pytest.skip("this processor has no bf16")
    out = tmp_path / "figures.json"
    run = judge_py(
        tmp_path, given.network, given.pictures.info, "--labels", given.pictures.labels,
        "--out", out,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith("OK: bf16 holds: Top1 ")
    content = json.loads(out.read_text())
    assert content["judgement"]["outcome"] == "trusted"
    assert content["judgement"]["pictures"] == 310
    assert content["judgement"]["sqnr_db"] > 20
    assert content["machine"]["usable_cores"] >= 1
    session = engines.load("openvino", given.network, Settings(4, precision="bf16"))
    assert session.precision == "bf16"
    pixels, _ = convnets.draw(4, seed=9)
    (found,) = session.infer(0, convnets.as_tensors(pixels))
    (wanted,) = engines.load("openvino", given.network, Settings(4)).infer(
        0, convnets.as_tensors(pixels)
    )
    assert not np.allclose(found, wanted, rtol=1e-5, atol=1e-5)


def test_bf16_is_refused_where_processor_or_engine_lack_it(given: Given, tmp_path: Path) -> None:
    if sys.platform == "linux" and os.uname().machine == "x86_64":
        run = judge_py(tmp_path, given.network, given.pictures.info, **AS_ON_AVX2)
        assert run.returncode == 1
        assert "this processor has no bf16" in run.stderr
        assert len(run.stderr.splitlines()) == 1
    run = judge_py(tmp_path, given.network, given.pictures.info, "--engine", "onnxruntime")
    assert run.returncode == 1
    assert "the engine onnxruntime has no precision bf16; it has fp32, int8" in run.stderr


def test_an_int8_model_is_judged_apart_from_the_pictures_of_its_record(
    given: Given, tmp_path: Path
) -> None:
    int8 = tmp_path / "int8.onnx"
    made = subprocess.run(
        [sys.executable, str(PROJECT / "vovnet39_quantize.py"), given.network,
         given.pictures.info, int8, "--images", "32", "--no-judge"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    run = judge_py(
        tmp_path, given.network, given.pictures.info, "--int8", int8, "--engine", "onnxruntime"
    )
    assert run.returncode == 1
    assert run.stdout.startswith("FAILED: too few to judge: 278 of 300 held-out pictures")
    assert "32 in the calibration set" in run.stdout
    run = judge_py(tmp_path, given.network, given.pictures.info, "--int8", given.network)
    assert "is no int8 model; make one of it with vovnet39_quantize.py" in run.stderr


def test_a_label_that_is_missing_or_no_class_is_named(given: Given, tmp_path: Path) -> None:
    if not has_bf16():
        pytest.skip("this processor has no bf16")
    lines = given.pictures.labels.read_text().splitlines()
    labels = tmp_path / "labels.txt"
    for changed, said in (
        (lines[:-1], "has no label for p0309"),
        ([*lines[:-1], "p0309.JPEG 6"], "the label 6 of p0309 is no class"),
    ):
        labels.write_text("\n".join(changed) + "\n")
        run = judge_py(tmp_path, given.network, given.pictures.info, "--labels", labels)
        assert run.returncode == 1
        assert said in run.stderr
        assert len(run.stderr.splitlines()) == 1


def test_a_network_that_was_never_trained_is_told_by_its_weights(
    given: Given, tmp_path: Path
) -> None:
    assert not untrained.is_untrained(given.network)
    for weights in ("normal", "uniform"):
        network = convnets.save_network(tmp_path / f"{weights}.onnx", weights=weights)
        assert untrained.is_untrained(network)


@pytest.mark.slow
def test_the_sample_is_told_whatever_input_it_is_exported_for(
    sample_folder: Path, tmp_path: Path
) -> None:
    for kind in ("float32", "uint8"):
        target = tmp_path / f"{kind}.onnx"
        run = subprocess.run(
            [sys.executable, str(PROJECT / "vovnet39_pth2onnx.py"),
             str(sample_folder / "vovnet39_sample.pth"), str(target), "--input", kind],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert run.returncode == 0, run.stderr
        assert untrained.is_untrained(target)
