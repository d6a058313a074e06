"""The benchmarks measure what they say, compare what was made, and name what is missing."""

from __future__ import annotations

import json
import math
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, JpegImagePlugin

from benchmarks import (
    check,
    costs,
    dumps,
    engine_worker,
    engines,
    harness,
    load,
    pictures,
    places,
    report,
    scaling,
    stats,
    table,
)
from benchmarks.engine_process import EngineProcess, Missing
from benchmarks.harness import Command, Gate, Visit
from benchmarks.known_engine import KnownSession
from benchmarks.peers.engines import Unavailable
from benchmarks.runner_alone import Bench
from pipeline.errors import PipelineError

PROJECT = Path(__file__).resolve().parent.parent
POSITIVE = st.floats(1e-3, 1e6)


def run(*words: str | Path, cwd: Path = PROJECT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *map(str, words)],
        cwd=cwd,
        env=harness.environment(),
        capture_output=True,
        text=True,
        check=False,
    )


def measured(name: str, out: Path, *words: str) -> dict[str, Any]:
    """Run one benchmark's quick look and return its table."""
    done = run(f"benchmarks.{name}", "--quick", "--out", out, *words)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith("OK: ")
    content = json.loads((out / f"{name}-quick.json").read_text())
    assert (out / f"{name}-quick.md").read_text() == table.to_markdown(content)
    assert content["quick"]
    assert content["machine"]["usable_cores"] >= 1
    return dict(content)


def part_of(content: dict[str, Any], key: str) -> dict[str, Any]:
    return next(dict(part) for part in content["parts"] if part["key"] == key)


# The numbers


@given(st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=20))
def test_a_spread_is_the_median_and_the_ends(values: list[float]) -> None:
    ordered = sorted(values)
    middle = len(ordered) // 2
    median = ordered[middle] if len(ordered) % 2 else sum(ordered[middle - 1 : middle + 1]) / 2
    assert stats.spread(values) == stats.Spread(median, ordered[0], ordered[-1], len(values))


def test_a_spread_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="no round"):
        stats.spread([])


@given(st.lists(st.tuples(POSITIVE, POSITIVE), min_size=1, max_size=20))
def test_ratios_pair_the_rounds_and_turn_with_what_is_better(
    rounds: list[tuple[float, float]],
) -> None:
    mine, base = zip(*rounds, strict=True)
    for place, (a, b) in enumerate(rounds):
        assert stats.ratios(mine, base)[place] == a / b
        assert stats.ratios(mine, base, "less")[place] == b / a


def test_a_round_that_one_side_lacks_has_no_ratio() -> None:
    assert stats.ratios([1.0, None, 6.0], [2.0, 4.0, None]) == [0.5]
    with pytest.raises(ValueError, match="zip"):
        stats.ratios([1.0], [1.0, 2.0])


def test_ratios_of_rounds_differ_from_the_ratio_of_medians() -> None:
    mine, base = [10.0, 2.0, 3.0], [5.0, 4.0, 1.0]
    assert statistics.median(stats.ratios(mine, base)) == 2.0
    assert statistics.median(mine) / statistics.median(base) == 0.75


def test_signal_to_noise_and_difference_agree_with_their_definitions() -> None:
    rng = np.random.default_rng(1)
    reference = rng.normal(0, 2, (5, 7)).astype(np.float32)
    values = reference + rng.normal(0, 0.1, reference.shape).astype(np.float32)
    signal = sum(float(x) ** 2 for x in reference.flat)
    pairs = list(zip(reference.flat, values.flat, strict=True))
    noise = sum((float(v) - float(r)) ** 2 for r, v in pairs)
    greatest = max(abs(float(v) - float(r)) for r, v in pairs)
    found = stats.signal_to_noise_db(reference, values)
    assert found == pytest.approx(10 * math.log10(signal / noise))
    assert stats.signal_to_noise_db(reference, reference) == math.inf
    assert stats.greatest_relative_difference(reference, values) == pytest.approx(
        greatest / max(abs(float(r)) for r in reference.flat)
    )


# Rounds and the gate


def test_variants_take_turns() -> None:
    order: list[str] = []

    def visit(name: str) -> Visit:
        order.append(name)
        return Visit({"rate": float(len(order))}, 0.0)

    calls = {name: (lambda name=name: visit(name)) for name in "ABC"}
    found = harness.interleave(calls, 2, Gate(0))
    assert "".join(order) == "ABCABC"
    assert harness.column(found["B"], "rate") == [2.0, 5.0]


def test_a_disturbed_visit_is_made_again_until_patience_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(harness, "_PAUSE_S", 0.0)
    others = iter([0.5, 0.01, 0.5, 0.5, 0.5])
    gate = Gate(patience=2)
    calls = {"A": lambda: Visit({"rate": 1.0}, next(others))}
    found = harness.interleave(calls, 3, gate)
    assert [visit.others for visit in found["A"]] == [0.01, 0.5, 0.5]
    assert (gate.thrown_away, gate.accepted_busy) == (2, 2)
    assert "measure again on a quiet machine" in gate.sentence()


def test_a_visit_counts_where_the_system_does_not_tell_of_others() -> None:
    gate = Gate(patience=0)
    assert gate.passes(Visit({}, None))
    assert gate.accepted_busy == 0


def test_the_watch_sees_work_that_is_not_its_own() -> None:
    watch = load.Watch()
    busy = "import time; t = time.time()\nwhile time.time() < t + 0.6: pass"
    subprocess.run([sys.executable, "-c", busy], check=True)
    others = watch.others(0.0)
    assert others is not None and others > 0.1


def test_the_watch_does_not_count_its_own_work_twice() -> None:
    before = load.own_s()
    deadline = time.process_time() + 0.3
    while time.process_time() < deadline:
        pass
    assert load.own_s() - before == pytest.approx(0.3, abs=0.1)


# Commands from outside


def test_processor_time_of_children_and_orphans_counts(tmp_path: Path) -> None:
    # The child ends at once and leaves a grandchild, which works for half a second.
    busy = "import time\nwhile time.process_time() < 0.5: pass"
    leaving = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {busy!r}])"
    seen = harness.run(Command([sys.executable, "-c", leaving]))
    assert seen.figures["cpu_s"] >= 0.5


def test_memory_of_several_processes_adds_up() -> None:
    hold = (
        "import time; b = bytearray(80_000_000); b[::4096] = b'1' * len(b[::4096]); time.sleep(1)"
    )
    two = (
        "import subprocess, sys\n"
        f"ps = [subprocess.Popen([sys.executable, '-c', {hold!r}]) for _ in range(2)]\n"
        "[p.wait() for p in ps]"
    )
    seen = harness.run(Command([sys.executable, "-c", two]), memory_every_s=0.02)
    assert 160e6 <= seen.figures["peak_bytes"] < 400e6
    assert "peak_bytes" not in harness.run(Command([sys.executable, "-c", ""])).figures


def test_a_command_that_fails_is_an_error_with_its_last_line() -> None:
    with pytest.raises(PipelineError, match=r"failed \(1\): ValueError: no such thing"):
        harness.run(Command([sys.executable, "-c", "raise ValueError('no such thing')"]))


def test_threads_that_the_shell_sets_do_not_reach_a_command(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    write = (
        "import os, pathlib; pathlib.Path('n').write_text(os.environ.get('OMP_NUM_THREADS', '-'))"
    )
    argv = [sys.executable, "-c", write]
    harness.run(Command(argv, folder=tmp_path))
    assert (tmp_path / "n").read_text() == "-"
    harness.run(Command(argv, {"OMP_NUM_THREADS": "1"}, tmp_path))
    assert (tmp_path / "n").read_text() == "1"


def test_visits_in_a_row_add_up_but_for_memory() -> None:
    parts = [
        Visit({"wall_s": 1.0, "cpu_s": 2.0, "peak_bytes": 7.0}, 0.1),
        Visit({"wall_s": 3.0, "cpu_s": 1.0, "peak_bytes": 5.0}, 0.3),
    ]
    both = costs.together(parts)
    assert both.figures == {"wall_s": 4.0, "cpu_s": 3.0, "peak_bytes": 7.0}
    assert both.others == pytest.approx(0.25)


@pytest.mark.parametrize("gain", [False, True])
def test_costs_stand_beside_the_base_of_the_same_round(gain: bool) -> None:
    plan = costs.Plan("images", 100, "base", "base", 2, quick=False, gain=gain)
    part = table.Part("p", "P", plan.columns())
    visits = {
        "base": [Visit({"cpu_s": c, "wall_s": w}) for c, w in ((8.0, 4.0), (6.0, 2.0))],
        "fast": [Visit({"cpu_s": c, "wall_s": w}) for c, w in ((2.0, 1.0), (2.0, 2.0))],
    }
    peak = {"base": Visit({"peak_bytes": 400e6}), "fast": Visit({"peak_bytes": 100e6})}
    costs.fill(part, visits, peak, plan)
    row: dict[str, Any] = part.rows["fast"]
    assert row["rate"]["median"] == 75.0
    assert row["peak_mb"] == 100.0
    expected = (3.5, 2.5, 4.0) if gain else (7 / 24, 0.625, 0.25)
    found = (row["cpu_ratio"]["median"], row["wall_ratio"]["median"], row["peak_ratio"])
    assert found == pytest.approx(expected)


def test_a_further_image_costs_the_difference_of_two_sizes() -> None:
    part = table.Part("p", "P", scaling.COLUMNS)
    visits = [[Visit({"cpu_s": s, "wall_s": s})] for s in (1.5, 3.0, 9.0)]
    scaling.fill(part, [100, 400, 1600], visits, [50e6, 50e6, 60e6])
    rows: list[dict[str, Any]] = list(part.rows.values())
    assert "further_ms" not in rows[0]
    assert [row["further_ms"]["median"] for row in rows[1:]] == pytest.approx([5.0, 5.0])
    assert [row["peak_ratio"] for row in rows] == pytest.approx([1.0, 1.0, 1.2])


# Tables


def made_table(quick: bool) -> table.Table:
    made = table.Table("preprocess", "A title", quick=quick, settings={})
    part = made.part("p", "Part", [table.Column("rate", "images/s", ".1f"), table.Column("x", "X")])
    part.add("ours", rate=stats.spread([1.0, 3.0, 2.0]))
    part.missing["peer"] = "the package peer is not installed"
    return made


def test_a_table_shows_median_and_spread_and_names_what_is_missing(tmp_path: Path) -> None:
    text = made_table(quick=False).save(tmp_path).read_text()
    assert "| ours | 2.0 (1.0-3.0) |" in text
    assert "- Missing: peer: the package peer is not installed." in text
    assert "| X |" not in text  # a column that nobody filled
    content = table.load(tmp_path / "preprocess.json")
    assert content["parts"][0]["rows"]["ours"]["rate"]["median"] == 2.0


def test_a_quick_look_never_takes_the_place_of_a_measurement(tmp_path: Path) -> None:
    made_table(quick=False).save(tmp_path)
    before = (tmp_path / "preprocess.json").read_bytes()
    made_table(quick=True).save(tmp_path)
    assert (tmp_path / "preprocess.json").read_bytes() == before
    page = report.page(tmp_path)
    assert "A quick look" not in page
    assert "Not measured yet: `python3 -m benchmarks.engines`" in page


def test_a_cell_that_is_no_number_is_refused_and_leaves_the_old_table(tmp_path: Path) -> None:
    made_table(quick=False).save(tmp_path)
    before = (tmp_path / "preprocess.json").read_bytes()
    broken = made_table(quick=False)
    broken.parts[0].add("ours", rate=math.nan)
    with pytest.raises(ValueError, match="JSON"):
        broken.save(tmp_path)
    assert (tmp_path / "preprocess.json").read_bytes() == before
    with pytest.raises(KeyError, match="no column"):
        broken.parts[0].add("ours", speed=1.0)


def test_the_report_needs_a_table_of_this_version(tmp_path: Path) -> None:
    done = run("benchmarks.report", "--results", tmp_path, "--out", tmp_path / "page.md")
    assert (done.returncode, done.stdout) == (1, "")
    assert "holds no measured table" in done.stderr
    (tmp_path / "engines.json").write_text('{"schema": 0}')
    with pytest.raises(PipelineError, match=r"engines\.json holds no table of this version"):
        report.page(tmp_path)


@pytest.mark.skipif(not list(table.RESULTS.glob("*.json")), reason="nothing was measured yet")
def test_every_number_of_the_performance_page_is_from_the_measured_files() -> None:
    assert report.TARGET.read_text() == report.page(table.RESULTS)


# Inputs and places


def test_photos_are_the_same_every_time_and_of_photo_size(tmp_path: Path) -> None:
    first = pictures.make_photos(tmp_path / "a", 40)
    again = pictures.make_photos(tmp_path / "b", 40)
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in again]
    sizes, kinds = [], set()
    for path in first:
        with Image.open(path) as image:
            sizes.append(image.size)
            kinds.add(JpegImagePlugin.get_sampling(image))
    assert {0, 2} <= kinds  # 4:4:4 and 4:2:0
    width, height = np.mean(sizes, axis=0)
    assert 420 < width < 510 and 350 < height < 460
    assert 90_000 < np.mean([path.stat().st_size for path in first]) < 130_000


def test_photos_beyond_the_unique_ones_are_links_to_them(tmp_path: Path) -> None:
    paths = pictures.make_photos(tmp_path / "a", 5, unique=2)
    assert [path.stat().st_ino for path in paths[2:]] == [
        paths[n % 2].stat().st_ino for n in (2, 3, 4)
    ]


def test_a_scratch_folder_goes_away_and_knows_its_limits(tmp_path: Path) -> None:
    with places.scratch(1000, tmp_path) as folder:
        (folder / "x").write_text("x")
    assert not folder.exists()
    with pytest.raises(PipelineError, match="less than"), places.scratch(10**15, tmp_path):
        pass
    with pytest.raises(PipelineError, match="is no folder"), places.scratch(1, tmp_path / "no"):
        pass


def test_the_kind_of_a_file_system_is_told(tmp_path: Path) -> None:
    assert places.kind(tmp_path / "no") == "unknown"
    assert places.kind(Path("/proc")) == "proc"


# What was made is compared


def test_a_design_that_writes_other_bytes_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"1")
    (tmp_path / "b.bin").write_bytes(b"2")
    reference = check.digests(tmp_path)
    check.same(check.digests(tmp_path), reference, "us")
    (tmp_path / "b.bin").write_bytes(b"3")
    with pytest.raises(PipelineError, match=r"us: 1 of 2 files differ.*b\.bin"):
        check.same(check.digests(tmp_path), reference, "us")
    (tmp_path / "b.bin").unlink()
    with pytest.raises(PipelineError, match="1 are missing"):
        check.same(check.digests(tmp_path), reference, "us")


def test_results_of_a_runner_that_swaps_samples_are_refused(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "m", tmp_path / "i", tmp_path, 40, 40)
    bench.dumps.mkdir()
    session = KnownSession(16)
    scores = np.concatenate([session.scores_of(first) for first in (0, 16, 32)])[:40]
    np.save(bench.dumps / "results_1.npy", scores)
    bench.compare("ours", "npy", 16, 0.0)
    scores[[3, 4]] = scores[[4, 3]]
    np.save(bench.dumps / "results_1.npy", scores)
    with pytest.raises(PipelineError, match="not those of the engine"):
        bench.compare("ours", "npy", 16, 0.0)


def test_outputs_of_an_engine_have_to_be_right_and_of_the_precision_asked_for() -> None:
    rng = np.random.default_rng(2)
    reference = rng.normal(0, 1, (4, 10)).astype(np.float32)

    def with_noise(db: float) -> Any:
        noise = rng.normal(0, 1, reference.shape)
        noise *= np.sqrt(np.square(reference).sum() / np.square(noise).sum()) * 10 ** (-db / 20)
        return reference + noise

    cells, wrong = engines.judge(reference, with_noise(28), engines.BF16)
    assert not wrong and cells["sqnr_db"] == pytest.approx(28)
    assert "higher precision" in engines.judge(reference, with_noise(60), engines.BF16)[1]
    assert "wrong" in engines.judge(reference, with_noise(3), engines.INT8)[1]
    assert "wrong" in engines.judge(reference, reference[::-1], engines.EXACT)[1]
    assert engines.judge(reference, reference, engines.EXACT)[1] == ""
    assert "no logits" in engines.judge(reference, reference * np.nan, engines.INT8)[1]
    assert "no logits" in engines.judge(reference, reference[:, :5], engines.INT8)[1]


# Peers


def test_an_engine_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks.peers.engines import ncnn_direct

    monkeypatch.setattr(ncnn_direct, "PACKAGES", ("no_such_engine",))
    with pytest.raises(Unavailable, match="no_such_engine is not installed"):
        engine_worker._engine("ncnn_direct")


def test_an_engine_process_that_dies_says_why(tmp_path: Path) -> None:
    task = engine_worker.Task(
        "onnx_runtime", "fp32", "", 1, 1, str(tmp_path), "vovnet39", str(tmp_path / "out.npy")
    )
    with pytest.raises(Missing, match=r"it failed: .*network\.onnx"):
        EngineProcess(task)


def test_the_guides_scorer_comes_to_our_top_n(tmp_path: Path) -> None:
    dumps.make_results(tmp_path / "text", 60, "text")
    dumps.make_labels(tmp_path / "labels.txt", 60)
    guide = run(
        "benchmarks.peers.guide_scorer",
        tmp_path / "text",
        tmp_path / "labels.txt",
        tmp_path / "guide.json",
    )
    assert guide.returncode == 0, guide.stderr
    ours = subprocess.run(
        [
            sys.executable,
            PROJECT / "vision_metric_ImageNet.py",
            *(tmp_path / "text", tmp_path / "labels.txt", tmp_path, "ours.json"),
        ],
        capture_output=True,
        check=False,
    )
    assert ours.returncode == 0, ours.stderr
    assert (tmp_path / "guide.json").read_bytes() == (tmp_path / "ours.json").read_bytes()
    values = [e["value"] for e in json.loads((tmp_path / "ours.json").read_text())["value"]]
    assert values[:2] == ["60", "1000"]
    assert 0 < float(values[2][:-1]) < float(values[6][:-1])  # Top1 and Top5 tell something


# The commands


def test_help_of_each_command_answers_and_names_its_command() -> None:
    for name in (*report.TABLES, "report"):
        done = run(f"benchmarks.{name}", "--help")
        assert done.returncode == 0
        assert f"python3 -m benchmarks.{name}" in done.stdout


def test_a_wrong_option_is_a_usage_error() -> None:
    done = run("benchmarks.scoring", "--quik")
    assert done.returncode == 2
    assert "did you mean --quick?" in done.stderr


@pytest.mark.slow
def test_preprocessing_quick_look_compares_every_design(tmp_path: Path) -> None:
    content = measured("preprocess", tmp_path, "--images", "6")
    whole = part_of(content, "whole")
    assert list(whole["rows"]) == [
        "ours",
        "ours, `--dtype uint8`",
        "guide's design, as written",
        "guide's design, OMP_NUM_THREADS=1",
        "torch DataLoader",
        "plain loop, torchvision",
    ]
    assert whole["rows"]["ours"]["cpu_ratio"]["median"] == 1.0
    assert set(part_of(content, "one_core")["rows"]) >= {"torchvision", "ours"}


@pytest.mark.slow
def test_engines_quick_look_names_rows_or_why_they_are_missing(tmp_path: Path) -> None:
    words = ("--arch", "vovnet27_slim", "--only", "ours", "--only", "ncnn", "--only", "MNN")
    content = measured("engines", tmp_path, *words)
    part = part_of(content, "batch_1")
    assert {"ours fp32", engines.ORT, engines.TORCH} <= set(part["rows"])
    asked = {"ours bf16", "ours int8", "ncnn fp32", "ncnn bf16", "MNN fp32", "MNN bf16"}
    assert asked <= set(part["rows"]) | set(part["missing"])
    assert part["rows"][engines.ORT]["to_ort"]["median"] == 1.0
    assert part["rows"]["ours fp32"]["difference"] < 1e-4


@pytest.mark.slow
def test_runner_quick_look_without_and_with_an_engine(tmp_path: Path) -> None:
    words = ("--samples", "40", "--images", "6", "--arch", "vovnet27_slim")
    content = measured("runner", tmp_path, *words, "--work-dir", str(tmp_path))
    alone = content["parts"][0]
    assert "ours, one file, batch 16" in alone["rows"]
    assert all(row["inner_rate"]["median"] > 0 for row in alone["rows"].values())
    shares = part_of(content, "end_to_end")["rows"]
    assert 0 < shares["fp32"]["share"]["median"] <= 1
    assert len(part_of(content, "from_pictures_fp32")["rows"]) == 2


@pytest.mark.slow
def test_scoring_quick_look_has_the_three_forms(tmp_path: Path) -> None:
    content = measured("scoring", tmp_path, "--results", "30")
    assert list(part_of(content, "whole")["rows"]) == [
        "guide's design, text",
        "ours, text",
        "ours, binary",
        "ours, one file",
    ]


@pytest.mark.slow
def test_scaling_quick_look_has_three_sizes_of_each_stage(tmp_path: Path) -> None:
    content = measured("scaling", tmp_path)
    assert [len(part["rows"]) for part in content["parts"]] == [3, 3, 3, 3]
    assert not list(tmp_path.glob("vovnet-benchmark-*"))
