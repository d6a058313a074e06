"""The report's verdicts: by the published figures, by a card's rules, by what records tell."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from models_vovnet.published import WEIGHTS_MD5
from pipeline import identity, record
from pipeline.formats import perf, result
from tests import ascend_project, report_works
from tests.report_works import report, verdict


@pytest.fixture
def guides(tmp_path: Path) -> Path:
    """What the guide's own commands leave, on all of ImageNet: a score and a perf file."""
    (tmp_path / "result").mkdir()
    score(tmp_path, 0.7678, 0.9343)
    speed(tmp_path, 281.608)
    return tmp_path


def score(folder: Path, top1: float, top5: float, images: int = 50_000) -> None:
    text = result.to_text(images, 1000, (top1, 0.85, 0.9, 0.92, top5))
    (folder / "result.json").write_text(text)


def speed(folder: Path, rate: float) -> None:
    figures = perf.DatasetPerf(
        *[rate if "rate" in n else 1 for n in perf.DatasetPerf.__annotations__]
    )
    (folder / "result" / perf.perf_name("vision", 1, 0)).write_text(perf.to_text(figures))


@pytest.mark.parametrize(
    ("top1", "top5", "word"),
    [(0.7577, 0.9243, "PASS"), (0.7576, 0.9343, "FAIL"), (0.7678, 0.9242, "FAIL")],
)
def test_accuracy_passes_within_a_point_of_the_published(
    guides: Path, top1: float, top5: float, word: str
) -> None:
    score(guides, top1, top5)
    report(guides)
    assert verdict(report_works.data(guides), "accuracy")["word"]["en"] == "NOT COMPARED"
    report(guides, "--published")
    found = verdict(report_works.data(guides), "accuracy")
    assert (found["word"]["en"], found["state"]) == (word, "good" if word == "PASS" else "bad")
    assert f"{100 * top1 - 76.77:+.2f}" in found["because"][0]["en"]


def test_a_part_of_the_images_is_not_compared(guides: Path) -> None:
    score(guides, 0.9, 0.9, images=1000)
    report(guides, "--published")
    found = verdict(report_works.data(guides), "accuracy")
    assert found["word"]["en"] == "NOT COMPARED"
    assert "1,000 images were scored, and the figures are of all 50,000" in str(found["because"])


@pytest.mark.parametrize(("md5", "word"), [(WEIGHTS_MD5, "PASS"), ("0" * 32, "NOT COMPARED")])
def test_records_tell_whether_the_checkpoint_is_the_published_one(
    guides: Path, md5: str, word: str
) -> None:
    model = {"path": "vovnet39.onnx", "sha256": "5e" * 32}
    made = {
        "schema": record.SCHEMA,
        "stage": "export",
        "status": "complete",
        "inputs": [{"path": "vovnet39.pth", "sha256": "6f" * 32}],
        "outputs": [model],
        "details": {"checkpoint": {"md5": md5}},
    }
    record.path_of(guides / "vovnet39.onnx").write_text(json.dumps(made))
    scored = {
        "schema": record.SCHEMA,
        "stage": "vision_metric_ImageNet",
        "status": "complete",
        "outputs": [identity.fingerprint(guides / "result.json")],
        "details": {"chain": {"verified": True, "doubts": [], "model": model}},
    }
    record.path_of(guides / "result.json").write_text(json.dumps(scored))
    report(guides)
    found = verdict(report_works.data(guides), "accuracy")
    assert found["word"]["en"] == word
    if word == "PASS":
        return
    assert f"md5 {md5}" in found["because"][0]["en"]
    done = report(guides, "--published", code=1)
    assert "is not the published checkpoint" in done.stderr


@pytest.mark.parametrize(
    ("soc", "rate", "word", "numbers"),
    [
        ("Ascend310", 164.3, "PASS", "657.2 / 657"),
        ("Ascend310", 164.2, "FAIL", "656.8 / 657"),
        ("Ascend310P3", 2500.0, "PASS", "2500 (batch 1) / 1483"),
        ("Ascend310P3", 2400.0, "FAIL", "2400 (batch 1) / 1533.7"),
        ("Ascend910", 9000.0, "NOT COMPARED", "none for Ascend910"),
    ],
)
def test_speed_is_judged_by_the_rules_of_the_card(
    guides: Path, soc: str, rate: float, word: str, numbers: str
) -> None:
    speed(guides, rate)
    report(guides)
    assert verdict(report_works.data(guides), "speed")["word"]["en"] == "UNKNOWN"
    report(guides, "--soc-version", soc)
    found = report_works.data(guides)
    assert verdict(found, "speed")["word"]["en"] == word
    assert numbers in str(verdict(found, "speed")["because"])
    assert found["runs"][0]["chips"] == (4 if soc == "Ascend310" else 1)


@pytest.mark.slow
def test_the_report_of_a_card_has_its_rules_and_no_processors_speed(tmp_path: Path) -> None:
    project = ascend_project.Project(tmp_path / "project")
    project.run()
    project.run("--only", "reference")
    report(project.work)
    found = report_works.data(project.work)
    assert found["on_card"] is True
    accuracy, speed = (verdict(found, subject) for subject in ("accuracy", "speed"))
    assert accuracy["word"]["en"] == "PASS"
    assert "of this ONNX in float32 on the processor: +0.00" in accuracy["because"][0]["en"]
    told = [line["en"] for line in speed["because"]]
    assert [line.split(" \u00b7 ")[1] for line in told] == [
        f"speed, batch {size}: four 310 chips above a T4" for size in ascend_project.SIZES
    ]
    chips = {run["name"]["en"]: run["chips"] for run in found["runs"]}
    assert chips == {"batch 1": 4, "batch 4": 4, "batch 16, on the processor": 1}
    assert found["per_class"]["images"] == ascend_project.IMAGES


def test_the_guides_own_files_have_a_report(guides: Path) -> None:
    report(guides)
    found = report_works.data(guides)
    assert sorted(found["absent"]) == [
        *("busy", "gallery", "latency", "memory", "per_class", "stages")
    ]
    text = (guides / "report.html").read_text()
    for why in found["absent"].values():
        assert why["en"].split("`")[0] in text
    assert verdict(found, "chain")["because"][0]["en"] == "result.json has no record"
