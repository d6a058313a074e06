"""The table at the end of a whole run: what it says of speeds, and of what is not there."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import identity, record
from pipeline.formats import perf, result
from tests.conftest import PROJECT

FILES = [(size, device) for device, size in enumerate((1, 16))]


def run(folder: Path) -> tuple[int, list[str], str]:
    arguments = []
    for size, device in FILES:
        name = perf.perf_name("vision", size, device)
        arguments += [f"result_bs{size}.json", f"result/{name}"]
    done = subprocess.run(
        [sys.executable, "-m", "pipeline", "summary", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(PROJECT), "PATH": ""},
    )
    return done.returncode, done.stdout.splitlines(), done.stderr


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """Results and perf files of two batch sizes, with no record yet."""
    (tmp_path / "result").mkdir()
    for size, device in FILES:
        figures = perf.DatasetPerf(*[10.0 * size] * 11)
        place = tmp_path / "result" / perf.perf_name("vision", size, device)
        place.write_text(perf.to_text(figures))
        text = result.to_text(8, 1000, (0.75, 0.875, 1, 1, 1))
        (tmp_path / f"result_bs{size}.json").write_text(text)
    return tmp_path


def keep(work: Path, number: int, quotable: object) -> Path:
    size, device = FILES[number]
    place = work / "result" / perf.perf_name("vision", size, device)
    content = {
        "schema": record.SCHEMA,
        "status": "complete",
        "outputs": [{"path": f"result/dumpOutput_device{device}"}, identity.fingerprint(place)],
        "details": {"quotable": quotable},
    }
    record.path_of(place).write_text(json.dumps(content))
    return place


def verdicts(lines: list[str]) -> list[str]:
    return [line.split()[-1] for line in lines[:3]]


def test_speeds_without_a_record_are_unknown(work: Path) -> None:
    code, lines, err = run(work)
    assert (code, err) == (0, "")
    assert verdicts(lines) == ["verdict", "unknown", "unknown"]
    assert lines[4] == "unknown (batch 1, 16): no record"


def test_each_speed_has_its_verdict_and_smoke_its_reasons_below(work: Path) -> None:
    keep(work, 0, {"verdict": "QUOTABLE", "reasons": []})
    keep(work, 1, {"verdict": "SMOKE", "reasons": ["15 calls were timed", "3 s were timed"]})
    code, lines, err = run(work)
    assert (code, err) == (0, "")
    assert verdicts(lines) == ["verdict", "QUOTABLE", "SMOKE"]
    assert lines[4] == "SMOKE (batch 16): 15 calls were timed; 3 s were timed"
    assert not any("batch 1)" in line for line in lines)


def test_the_record_of_other_figures_vouches_for_nothing(work: Path) -> None:
    place = keep(work, 0, {"verdict": "QUOTABLE", "reasons": []})
    place.write_text(place.read_text().replace("10", "11"))
    _, lines, _ = run(work)
    assert verdicts(lines)[1] == "unknown"
    assert "unknown (batch 1): its record is that of another file" in lines


def test_a_record_from_before_there_were_verdicts_leaves_it_unknown(work: Path) -> None:
    keep(work, 0, None)
    _, lines, _ = run(work)
    assert "unknown (batch 1): its record does not say" in lines


def test_a_speed_that_was_not_measured_has_no_verdict(work: Path) -> None:
    (work / "result" / perf.perf_name("vision", 16, 1)).unlink()
    keep(work, 0, {"verdict": "QUOTABLE", "reasons": []})
    code, lines, _ = run(work)
    assert (code, verdicts(lines)) == (0, ["verdict", "QUOTABLE", "-"])
    assert not any("batch 16" in line for line in lines[3:])


def scored(work: Path, number: int, dumps: dict[str, object]) -> None:
    place = work / f"result_bs{FILES[number][0]}.json"
    content = {
        "schema": record.SCHEMA,
        "status": "complete",
        "inputs": [{"path": f"result/dumpOutput_device{number}", **dumps}],
        "outputs": [identity.fingerprint(place)],
        "details": {"top1_interval_95": [0.4, "a lot"]},
    }
    record.path_of(place).write_text(json.dumps(content))


def test_the_speed_of_another_run_than_the_result_is_left_out(work: Path) -> None:
    place = keep(work, 0, {"verdict": "QUOTABLE", "reasons": []})
    scored(work, 0, {})
    assert verdicts(run(work)[1])[1] == "QUOTABLE"
    scored(work, 0, {"listing_sha256": "that of other dumps"})
    code, lines, err = run(work)
    assert (code, err) == (0, "")
    assert lines[1].split()[-3:] == ["-", "-", "-"]
    name = place.relative_to(work)
    assert f"- (batch 1): {name} is of another run than result_bs1.json: score anew" in lines


def test_a_huge_perf_file_is_refused_unread(work: Path) -> None:
    with (work / "result" / perf.perf_name("vision", 1, 0)).open("r+b") as file:
        file.truncate(1 << 40)
    code, _, err = run(work)
    assert code == 1
    assert "has more than 1 MiB; measure anew" in err
    assert err.count("\n") == 1
