"""What a run says of its own figures, through the command line: lines, record, self-checks."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import benchmark
from cli import door
from pipeline import quotable, record, speeds
from pipeline.engines.onnxruntime_engine import OnnxRuntimeSession
from pipeline.formats import perf
from pipeline.imagenet import CROP
from pipeline.runner import selfcheck, timing
from pipeline.runner.conditions import Watch
from tests import images, models

SIZE, COUNT, BATCH = 32, 11, 2
FLAGS = ("-om_path=m.onnx", "-input_text_path=data.info", "-engine=onnxruntime")
FORMS = {"text": (), "binary": ("-output_binary=true",), "npy": ("-dump=npy",)}
DUMPS = "result/dumpOutput_device0"


@pytest.fixture(autouse=True)
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a model of three outputs and eleven samples."""
    monkeypatch.chdir(tmp_path)
    models.save_classifier(tmp_path / "m.onnx", size=SIZE, extra_outputs=True)
    (tmp_path / "prep").mkdir()
    rng = np.random.default_rng(2)
    lines = []
    for i in range(COUNT):
        rng.random((3, SIZE, SIZE), dtype=np.float32).tofile(tmp_path / f"prep/p{i}.bin")
        lines.append(f"{i} ./prep/p{i}.bin {SIZE} {SIZE}\n")
    (tmp_path / "data.info").write_text("".join(lines))
    return tmp_path


@pytest.fixture
def every_run_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selfcheck, "TINY_S", 0.0)


def run(capsys: pytest.CaptureFixture[str], *flags: str) -> list[str]:
    capsys.readouterr()
    code = door.enter(benchmark.build_parser(), benchmark.call, flags)
    out, err = capsys.readouterr()
    assert code == 0, err
    return list(out.splitlines())


def stated(output: str) -> dict[str, Any]:
    made = record.load(Path(output))
    assert made is not None
    found: dict[str, Any] = made["details"]["quotable"]
    return found


def answer_wrongly(monkeypatch: pytest.MonkeyPatch, calls: int) -> None:
    """Let the engine's first `calls` answers be off, and the later ones right."""
    infer, made = OnnxRuntimeSession.infer, 0

    def lie(session: OnnxRuntimeSession, request: int, batch: NDArray[Any]) -> list[NDArray[Any]]:
        nonlocal made
        made += 1
        outputs = infer(session, request, batch)
        return [outputs[0] + 1, *outputs[1:]] if made <= calls else outputs

    monkeypatch.setattr(OnnxRuntimeSession, "infer", lie)


def test_the_verdict_follows_the_five_lines_and_stands_in_both_records(
    capsys: pytest.CaptureFixture[str],
) -> None:
    lines = run(capsys, *FLAGS)
    name = perf.perf_name("vision", 1, 0)
    assert lines[1:6] == Path("result", name).read_text().splitlines()
    assert lines[6].startswith("[INFO] SMOKE: 11 calls were timed and 64 are needed: give more")
    assert lines[7].startswith("[INFO] latency of a call: at most p50 ")
    assert lines[7].endswith(
        " ms (11 calls); p90 needs 64, p95 needs 130, p99 needs 662, p99.9 needs 6636 calls,"
        " 11 calls were timed"
    )
    assert lines[8].startswith("OK: 11 of 11 samples")
    found = stated(DUMPS)
    assert found == stated(f"result/{name}")
    assert found["verdict"] == "SMOKE"
    assert (found["calls"], found["samples_timed"], found["samples"]) == (11, 11, 11)
    assert lines[6] == f"[INFO] SMOKE: {'; '.join(found['reasons'])}"
    states = {check["state"] for check in found["self_checks"].values()}
    assert states == {"not checked"}  # it takes no second


def test_a_run_with_nothing_against_it_is_quotable_in_line_record_and_table(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # However busy the machine is that the tests run on.
    limits = {"LEAST_SECONDS": 0, "LEAST_CALLS": 1, "MOST_SPREAD": 1e9, "MOST_OTHERS": 1}
    limits |= {"MOST_THROTTLED": 1, "MOST_SLOWDOWN": 1}
    for name, value in limits.items():
        monkeypatch.setattr(quotable, name, value)
    monkeypatch.setattr(Watch, "conditions", lambda watch: quotable.Conditions(others=0.02))
    lines = run(capsys, *FLAGS)
    assert re.fullmatch(
        r"\[INFO\] QUOTABLE: 11 calls in [0-9.]+ s, the rates of 5 parts within [0-9.]+%, 2\.0% of"
        r" the cores with others; not checked: .*",
        lines[6],
    )
    assert stated(DUMPS)["verdict"] == "QUOTABLE"
    (row,) = speeds.read_all([Path("result", perf.perf_name("vision", 1, 0))], None)
    assert (row.verdict, row.verdict_because) == ("QUOTABLE", ())


def test_the_verdict_on_rounds_follows_their_summary(capsys: pytest.CaptureFixture[str]) -> None:
    lines = run(capsys, "-om_path=m.onnx", "-round=20", "-batch_size=3", "-warmup=0")
    dashes = max(number for number, line in enumerate(lines) if set(line) == {"-"})
    assert lines[dashes + 1].startswith(
        "[INFO] SMOKE: 20 calls were timed and 64 are needed: give -round=64 or more; "
    )
    assert lines[dashes + 2].startswith("[INFO] latency of a call: at most p50 ")
    assert lines[dashes + 3].startswith("OK: 20 rounds")
    found = stated(f"result/{perf.pure_perf_name('m', 0)}")
    assert found["self_checks"]["answers"]["state"] == "good"
    assert found["warmup_calls_per_request"] == 1  # the first call of all


def test_no_warm_up_at_all_of_several_requests_is_a_reason(
    capsys: pytest.CaptureFixture[str],
) -> None:
    run(capsys, *FLAGS[:2], "-engine=openvino", "-threads=2", "-warmup=0")
    found = stated(DUMPS)
    warned = "not every request was warmed up: give -warmup=1 or more" in found["reasons"]
    assert warned == (found["requests"] > 1)


@pytest.mark.usefixtures("every_run_is_checked")
@pytest.mark.parametrize("form", FORMS)
def test_answers_of_the_run_are_those_of_one_call_at_a_time(
    form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run(capsys, *FLAGS, f"-batch_size={BATCH}", *FORMS[form])
    found = stated(DUMPS)["self_checks"]
    assert found["answers"]["state"] == "good"
    assert found["answers"]["text"].endswith(
        "samples: the same answers one call at a time, to the last bit"
    )
    assert found["repetition"]["state"] in ("good", "bad")  # on a busy machine anything is possible


@pytest.mark.usefixtures("every_run_is_checked")
@pytest.mark.parametrize("form", FORMS)
def test_an_engine_that_answers_otherwise_while_timing_is_found_out(
    form: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    answer_wrongly(monkeypatch, calls=2 + -(-COUNT // BATCH))
    lines = run(capsys, *FLAGS, f"-batch_size={BATCH}", *FORMS[form])
    said = next(line for line in lines if line.startswith("[INFO] SMOKE: "))
    assert "answers given while timing are not those of one call at a time (./prep/p" in said
    assert stated(DUMPS)["self_checks"]["answers"]["state"] == "bad"


def test_rounds_that_do_not_end_as_they_began_are_found_out(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    answer_wrongly(monkeypatch, calls=5)
    run(capsys, "-om_path=m.onnx", "-round=20", "-engine=onnxruntime")
    found = stated(f"result/{perf.pure_perf_name('m', 0)}")
    assert found["self_checks"]["answers"]["state"] == "bad"
    assert "the last batch differs" in found["reasons"][-1]


@pytest.mark.usefixtures("every_run_is_checked")
def test_images_prepared_on_the_way_are_checked_as_well(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models.save_classifier(work / "m.onnx", size=CROP)
    (work / "pictures").mkdir()
    for number in range(3):
        images.photo(300, 260, seed=number).save(work / "pictures" / f"i{number}.jpg")
    text = "".join(f"{n} ./pictures/i{n}.jpg 300 260\n" for n in range(3))
    (work / "data.info").write_text(text)
    run(capsys, *FLAGS, "-batch_size=2", "-useDvpp=true")
    assert stated(DUMPS)["self_checks"]["answers"]["state"] == "good"


def test_a_run_that_went_on_is_smoke_for_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selfcheck, "TINY_S", 0.0)
    blocked = Path(DUMPS, "p8_1.txt")
    blocked.mkdir(parents=True)
    assert door.enter(benchmark.build_parser(), benchmark.call, FLAGS) == 1
    blocked.rmdir()
    lines = run(capsys, *FLAGS)
    found = stated(DUMPS)
    assert found["samples_timed"] < found["samples"] == COUNT
    assert "in an earlier run: measure anew with -force" in found["reasons"][0]
    assert found["reasons"][0] in next(line for line in lines if "SMOKE" in line)
    assert found["self_checks"]["answers"]["state"] == "good"
    run(capsys, *FLAGS, "-force")
    assert stated(DUMPS)["samples_timed"] == COUNT


def test_the_record_with_the_verdict_is_plain_json(capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, *FLAGS)
    text = record.path_of(Path(DUMPS)).read_text()

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    json.loads(text, parse_constant=refuse)


def test_advice_on_rounds_stays_within_what_the_tool_takes() -> None:
    assert timing.MOST_ROUNDS == benchmark.MOST_ROUNDS
    assert timing.pure_timed([10**8] * 50, 1).more_seconds == "give -round=100 or more"
    assert timing.pure_timed([10**6] * 50, 1).more_seconds == "give a larger batch"
