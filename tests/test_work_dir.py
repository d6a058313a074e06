"""What lies in a work folder, whatever has been done there and by whatever tool."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pipeline import record, work_dir
from pipeline.errors import PipelineError
from pipeline.formats import perf, result
from tests import dumps
from tests.conftest import PROJECT

SPEED = perf.DatasetPerf(*[10.0] * 11)


def put_speed(work: Path, batch: int, device: int = 0, **change: float) -> Path:
    (work / "result").mkdir(exist_ok=True)
    figures = perf.DatasetPerf(**(vars(SPEED) | change))
    place = work / "result" / perf.perf_name("vision", batch, device)
    place.write_text(perf.to_text(figures))
    return place


def put_score(work: Path, name: str, top1: float = 0.75) -> Path:
    place = work / name
    place.write_text(result.to_text(8, 1000, (top1, 0.875, 1, 1, 1)))
    return place


def vouch(place: Path, **content: Any) -> None:
    """Write a record that names the file as it is, and the other outputs in `content` first."""
    from pipeline import identity

    outputs = [*content.pop("outputs", []), identity.fingerprint(place)]
    whole = {"schema": record.SCHEMA, "status": "complete", "outputs": outputs, **content}
    record.path_of(place).write_text(json.dumps(whole))


def seen(folder: Path) -> list[tuple[int | None, str | None, str | None]]:
    """Return batch size, score and speed of each run that is found."""
    found = []
    for run in work_dir.read(folder).runs:
        names = [part.file.name if part else None for part in (run.score, run.speed)]
        found.append((run.batch_size, names[0], names[1]))
    return found


def test_the_guides_own_files_are_one_run(tmp_path: Path) -> None:
    put_score(tmp_path, "result.json")
    put_speed(tmp_path, 16)
    assert seen(tmp_path) == [(16, "result.json", "perf_vision_batchsize_16_device_0.txt")]
    (run,) = work_dir.read(tmp_path).runs
    assert run.speed and (run.speed.chip_rate, run.speed.chips, run.speed.card_rate) == (10, 4, 40)
    assert run.score and (run.score.dumps, run.score.top1_interval) == (None, None)


def test_without_records_names_tell_what_belongs_together(tmp_path: Path) -> None:
    put_score(tmp_path, "result_bs1.json")
    put_score(tmp_path, "result_bs16.json")
    put_speed(tmp_path, 16, 1)
    put_speed(tmp_path, 4, 2)
    assert seen(tmp_path) == [
        (1, "result_bs1.json", None),
        (4, None, "perf_vision_batchsize_4_device_2.txt"),
        (16, "result_bs16.json", "perf_vision_batchsize_16_device_1.txt"),
    ]


def test_records_tell_more_than_names(tmp_path: Path) -> None:
    for name, listing in (("result_bs1.json", "b"), ("result_bs16.json", "a")):
        place = put_score(tmp_path, name)
        vouch(place, inputs=[{"path": "dumps", "listing_sha256": listing}])
    for batch, listing in ((1, "a"), (16, "b")):
        dumped = {"path": "dumps", "listing_sha256": listing}
        vouch(put_speed(tmp_path, batch), outputs=[dumped])
    assert [(b, s) for b, s, _ in seen(tmp_path)] == [
        (1, "result_bs16.json"),
        (16, "result_bs1.json"),
    ]


def test_a_speed_of_other_dumps_is_another_run(tmp_path: Path) -> None:
    vouch(put_score(tmp_path, "result_bs1.json"), inputs=[{"path": "d", "listing_sha256": "a"}])
    vouch(put_speed(tmp_path, 1), outputs=[{"path": "d", "listing_sha256": "b"}])
    assert sorted(map(str, seen(tmp_path))) == [
        "(1, 'result_bs1.json', None)",
        "(1, None, 'perf_vision_batchsize_1_device_0.txt')",
    ]


def test_an_edited_file_loses_its_record(tmp_path: Path) -> None:
    place = put_speed(tmp_path, 1)
    vouch(place, details={"quotable": {"verdict": "QUOTABLE", "reasons": []}})
    (run,) = work_dir.read(tmp_path).runs
    assert run.speed and run.speed.verdict == "QUOTABLE"
    put_speed(tmp_path, 1, e2e_rate=11.0)
    (run,) = work_dir.read(tmp_path).runs
    assert run.speed and (run.speed.verdict, run.speed.made) == ("unknown", {})


def scored(folder: Path) -> None:
    dumps.make_case(folder)
    subprocess.run(
        [
            *(sys.executable, PROJECT / "vision_metric_ImageNet.py"),
            *("dumps", "labels.txt", "./", "result.json"),
        ],
        cwd=folder,
        check=True,
        capture_output=True,
    )


def test_what_was_scored_is_found_again_also_where_the_folder_moved(tmp_path: Path) -> None:
    scored(tmp_path / "old")
    shutil.copytree(tmp_path / "old", tmp_path / "a new" / "place")
    shutil.rmtree(tmp_path / "old")
    (run,) = work_dir.read(tmp_path / "a new" / "place").runs
    assert run.score and run.score.dumps == tmp_path / "a new" / "place" / "dumps"
    assert run.score.labels == tmp_path / "a new" / "place" / "labels.txt"
    assert work_dir.read(tmp_path / "a new" / "place").best_scored == run


@pytest.mark.parametrize("harm", ["another", "changed", "gone"])
def test_dumps_that_were_not_scored_are_not_taken_for_those_that_were(
    harm: str, tmp_path: Path
) -> None:
    scored(tmp_path)
    place = sorted((tmp_path / "dumps").iterdir())[3]
    if harm == "another":
        shutil.copy(place, place.with_name("z_1.txt"))
    elif harm == "changed":
        place.write_text(place.read_text() + " ")
    else:
        shutil.rmtree(tmp_path / "dumps")
    work = work_dir.read(tmp_path)
    assert work.best_scored is None
    assert work.runs[0].score and work.runs[0].score.labels is not None


def test_rates_of_ais_bench_and_of_several_chips(tmp_path: Path) -> None:
    (tmp_path / "result").mkdir()
    ais = {"throughput": 300.0, "batchsize": 8, "NPU_compute_time": {"mean": 26.6}}
    (tmp_path / "result" / "ais_bench_batchsize_8_device_2.json").write_text(json.dumps(ais))
    name = perf.card_perf_name("vision", 4, (0, 1, 2, 3))
    (tmp_path / "result" / name).write_text(perf.to_text(SPEED))
    four, eight = (run.speed for run in work_dir.read(tmp_path).runs)
    assert four and (four.chip_rate, four.chips, four.card_rate, four.e2e_rate) == (2.5, 4, 10, 10)
    assert eight and (eight.chip_rate, eight.chips, eight.e2e_rate) == (300, 4, None)
    om = tmp_path / "vovnet39_bs8.om"
    om.touch()
    vouch(om, settings={"soc_version": "Ascend310P3"})
    four, eight = (run.speed for run in work_dir.read(tmp_path).runs)
    assert eight and (eight.chips, eight.card_rate) == (1, 300)


def test_the_sample_of_a_whole_run_is_known_in_all_its_parts(tmp_path: Path) -> None:
    made = {"stage": "sample", "started_unix_s": 5.0}
    (tmp_path / "sample").mkdir()
    (tmp_path / "a").touch()
    record.path_of(tmp_path / "sample").write_text(json.dumps({"schema": 1, **made}))
    record.path_of(tmp_path / "a").write_text(json.dumps({"schema": 1, "stage": "export"}))
    put_score(tmp_path, "result.json")
    work = work_dir.read(tmp_path)
    assert [(name, made["stage"]) for name, made in work.stages] == [
        ("a", "export"),
        ("sample", "sample"),
    ]
    found = work.made_by("sample")
    assert found and found["started_unix_s"] == 5.0
    assert work.made_by("benchmark") is None


@pytest.mark.parametrize(
    "content", ["", "[]", "{", "{}", '{"throughput": true}', '{"throughput": 1e999}', "\xff"]
)
def test_odd_files_are_left_out_and_named(content: str, tmp_path: Path) -> None:
    put_score(tmp_path, "result.json")
    (tmp_path / "result.txt").write_text("no")
    (tmp_path / "result_other.json").write_text(content)
    (tmp_path / "result").mkdir()
    (tmp_path / "result" / "ais_bench_batchsize_1_device_0.json").write_text(content)
    (tmp_path / "result" / "perf_vision_batchsize_1_device_0.txt").write_text(content)
    (tmp_path / "broken.record.json").write_text(content)
    work = work_dir.read(tmp_path)
    assert [run.score and run.score.file.name for run in work.runs] == ["result.json"]
    named = "\n".join(work.doubts)
    assert "ais_bench_batchsize_1_device_0.json is left out" in named
    assert "perf_vision_batchsize_1_device_0.txt is left out" in named
    assert "broken.record.json" in named


def test_a_folder_without_figures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match="neither a score"):
        work_dir.read(tmp_path)
    with pytest.raises(PipelineError, match="is no folder"):
        work_dir.read(tmp_path / "none")
