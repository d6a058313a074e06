"""The runner: nothing lost, nothing twice, bounded, ended by the first failure, rightly timed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline import record
from pipeline.engines import TensorInfo
from pipeline.errors import PipelineError
from pipeline.imagenet import transform
from pipeline.ledger import Ledger
from pipeline.runner import resume, sinks, timing, waiting
from pipeline.runner.flow import Batch, Flow
from pipeline.runner.sources import ImageFiles, TensorFiles
from pipeline.runner.timing import Interval, Measured, Span, covered_ns, dataset_perf, pure_perf
from tests import images, models
from tests.conftest import PROJECT

SHAPE = (3, 4, 4)


class Doubling:
    """A session whose output is twice the input, flat, and the first value on its own."""

    engine, version, precision, threads, start = "doubling", "1", "fp32", 1, "at once"

    def __init__(self, batch_size: int, requests: int = 1) -> None:
        self.requests = requests
        self.inputs: tuple[TensorInfo, ...] = (
            TensorInfo("x", (batch_size, *SHAPE), np.dtype(np.float32)),
        )
        self.outputs: tuple[TensorInfo, ...] = (
            TensorInfo("y", (batch_size, 48), np.dtype(np.float32)),
        )
        self.executed: list[Interval] = [(0, 0)] * requests
        self.cancelled = threading.Event()
        self.before: Callable[[int, NDArray[Any]], object] = lambda request, batch: None

    def infer(self, request: int, batch: NDArray[Any]) -> list[NDArray[Any]]:
        started = time.perf_counter_ns()
        self.before(request, batch)
        outputs = [batch.reshape(len(batch), -1) * 2, batch[:, 0, 0, :1].astype(np.int64)]
        self.executed[request] = (started, time.perf_counter_ns())
        return outputs

    def cancel(self) -> None:
        self.cancelled.set()


class Remembering:
    """A sink that keeps the rows of each sample."""

    def __init__(self) -> None:
        self.rows: dict[int, list[NDArray[Any]]] = {}
        self.before: Callable[[Batch], None] = lambda batch: None

    def write(self, batch: Batch) -> None:
        self.before(batch)
        for row in range(batch.count):
            assert batch.first + row not in self.rows
            self.rows[batch.first + row] = [output[row].copy() for output in batch.outputs]


def tensors(folder: Path, count: int) -> list[str]:
    paths = []
    for i in range(count):
        path = folder / f"sample {i}.bin"
        np.full(SHAPE, i, np.float32).tofile(path)
        paths.append(str(path))
    return paths


def silent(done: int) -> None:
    """Report nothing."""


def run_flow(
    paths: Sequence[str],
    batch_size: int,
    session: Doubling | None = None,
    sink: Remembering | None = None,
    report: Callable[[int], None] = silent,
) -> tuple[Measured, Remembering]:
    session = session or Doubling(batch_size)
    sink = sink or Remembering()
    flow = Flow(session, TensorFiles(paths), sink, batch_size)
    return flow.run(report), sink


def no_threads_left() -> bool:
    names = ("_read", "_infer", "_write", "call")
    return not any(thread.name in names for thread in threading.enumerate())


@pytest.mark.parametrize("count", [1, 3, 4, 5, 16, 97])
@pytest.mark.parametrize("batch_size", [1, 4, 32])
@pytest.mark.parametrize("requests", [1, 3])
def test_every_sample_goes_through_exactly_once(
    count: int, batch_size: int, requests: int, tmp_path: Path
) -> None:
    paths = tensors(tmp_path, count)
    measured, sink = run_flow(paths, batch_size, Doubling(batch_size, requests))
    assert sorted(sink.rows) == list(range(count))
    for i, (doubled, first) in sink.rows.items():
        np.testing.assert_array_equal(doubled, np.full(48, 2.0 * i, np.float32))
        assert first == i
    assert measured.samples == count
    assert len(measured.calls_ns) == len(measured.executes) == -(-count // batch_size)
    assert all(ns > 0 for ns in measured.calls_ns)
    assert no_threads_left()


def test_the_last_batch_is_filled_up_with_a_sample_of_its_own(tmp_path: Path) -> None:
    seen: list[NDArray[Any]] = []
    session = Doubling(4)
    session.before = lambda request, batch: seen.append(batch.copy())
    run_flow(tensors(tmp_path, 6), 4, session)
    last = max((batch[:, 0, 0, 0] for batch in seen), key=max)
    np.testing.assert_array_equal(last, [4, 5, 4, 4])


def test_several_requests_are_in_flight_at_a_time(tmp_path: Path) -> None:
    together = threading.Barrier(3, timeout=20)
    session = Doubling(1, requests=3)
    session.before = lambda request, batch: together.wait()
    _, sink = run_flow(tensors(tmp_path, 12), 1, session)
    assert len(sink.rows) == 12


def test_a_slow_writer_holds_up_the_readers(tmp_path: Path) -> None:
    """Between reading and writing there are never more batches than the ring has."""
    ring = 32
    count = 3 * ring
    ahead: list[int] = []
    inferred = 0
    session, sink = Doubling(1), Remembering()

    def counting(request: int, batch: NDArray[Any]) -> None:
        nonlocal inferred
        inferred += 1

    def slow(batch: Batch) -> None:
        time.sleep(0.002)
        ahead.append(inferred - len(sink.rows))

    session.before, sink.before = counting, slow
    run_flow(tensors(tmp_path, count), 1, session, sink)
    assert 1 < max(ahead) <= ring


def fail_reading(paths: list[str], session: Doubling, sink: Remembering) -> str:
    Path(paths[20]).write_bytes(b"short")
    return r"sample 20\.bin ends after 5 of 192 bytes"


def fail_opening(paths: list[str], session: Doubling, sink: Remembering) -> str:
    Path(paths[20]).unlink()
    return r"sample 20\.bin"


def fail_inferring(paths: list[str], session: Doubling, sink: Remembering) -> str:
    def failing(request: int, batch: NDArray[Any]) -> None:
        if batch[0, 0, 0, 0] == 20:
            raise PipelineError("the engine broke", "mend it")

    session.before = failing
    return r"the engine broke \(in the batch from .*sample 20\.bin to .*sample 21\.bin\); mend it"


def fail_writing(paths: list[str], session: Doubling, sink: Remembering) -> str:
    def failing(batch: Batch) -> None:
        if batch.first == 20:
            raise OSError(28, "No space left on device", "out/sample_20_1.txt")

    sink.before = failing
    return "No space left"


@pytest.mark.parametrize("fail", [fail_reading, fail_opening, fail_inferring, fail_writing])
@pytest.mark.parametrize("requests", [1, 2])
def test_the_first_failure_stops_the_run_and_is_raised(
    fail: Callable[[list[str], Doubling, Remembering], str], requests: int, tmp_path: Path
) -> None:
    paths, session, sink = tensors(tmp_path, 400), Doubling(2, requests), Remembering()
    said = fail(paths, session, sink)
    with pytest.raises((PipelineError, OSError), match=said):
        run_flow(paths, 2, session, sink)
    assert session.cancelled.is_set()
    assert len(sink.rows) < 400
    assert no_threads_left()


def interrupt(done: int) -> None:
    raise KeyboardInterrupt


def test_an_interrupt_stops_all_threads(tmp_path: Path) -> None:
    session = Doubling(1)
    session.before = lambda request, batch: time.sleep(0.05)
    with pytest.raises(KeyboardInterrupt):
        run_flow(tensors(tmp_path, 200), 1, session, report=interrupt)
    assert session.cancelled.is_set()
    assert no_threads_left()


def test_an_interrupt_does_not_wait_for_a_deaf_engine(tmp_path: Path) -> None:
    release = threading.Event()
    others = threading.enumerate()
    session = Doubling(1)
    session.before = lambda request, batch: release.wait(60)
    with pytest.raises(KeyboardInterrupt):
        run_flow(tensors(tmp_path, 3), 1, session, report=interrupt)
    assert not no_threads_left()
    release.set()
    for thread in set(threading.enumerate()).difference(others):
        thread.join(10)
    assert no_threads_left()


def test_an_interrupted_call_ends_though_each_cancel_reaches_one_inference_at_most() -> None:
    """As with OpenVINO: a cancel that finds no inference running has no effect on the next."""
    running, cancelled, ended = threading.Event(), threading.Event(), threading.Event()

    def cancel() -> None:
        if running.is_set():
            cancelled.set()

    def rounds() -> None:
        try:
            for _ in range(10_000):
                running.set()
                if cancelled.wait(0.002):
                    return
                running.clear()
                time.sleep(0.002)
        finally:
            ended.set()

    for _ in range(5):
        for event in (running, cancelled, ended):
            event.clear()
        timer = threading.Timer(0.05, signal.raise_signal, [signal.SIGINT])
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            waiting.call(rounds, cancel)
        assert ended.is_set(), "the thread was left running"
        timer.join()


def test_an_impatient_second_interrupt_waits_for_the_threads_too() -> None:
    ended = threading.Event()

    def slow() -> None:
        time.sleep(0.3)
        ended.set()

    timers = [
        threading.Timer(after, signal.raise_signal, [signal.SIGINT]) for after in (0.05, 0.15)
    ]
    for timer in timers:
        timer.start()
    with pytest.raises(KeyboardInterrupt):
        waiting.call(slow, lambda: None)
    assert ended.is_set()


def test_a_call_in_a_thread_gives_its_result_or_raises_its_error() -> None:
    assert waiting.call(lambda: 3, lambda: None) == 3
    with pytest.raises(ZeroDivisionError):
        waiting.call(lambda: 1 // 0, lambda: None)


def write_batches(sink: Any, values: NDArray[Any], batch_size: int) -> None:
    """Write `values` in batches, the last first, as several requests may finish."""
    for first in reversed(range(0, len(values), batch_size)):
        part = values[first : first + batch_size]
        full = np.concatenate([part, np.full_like(part, 99)])[:batch_size]
        padded = np.resize(full, (batch_size, *values.shape[1:]))
        sink.write(Batch(np.zeros(batch_size), first, len(part), [padded, padded[:, :1] > 0]))


def test_dump_files_hold_each_sample_of_each_output(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(7, 5)).astype(np.float32)
    stems = [f"image {i}" for i in range(7)]
    write_batches(sinks.DumpFiles(tmp_path, stems, binary=True), values, 3)
    write_batches(sinks.DumpFiles(tmp_path, stems, binary=False), values, 3)
    assert len(list(tmp_path.iterdir())) == 28
    for stem, row in zip(stems, values, strict=True):
        assert (tmp_path / f"{stem}_1.bin").read_bytes() == row.tobytes()
        text = (tmp_path / f"{stem}_1.txt").read_text()
        assert text.endswith(" \n")
        np.testing.assert_array_equal(np.array(text.split(), np.float32), row)
        assert (tmp_path / f"{stem}_2.txt").read_text() == f"{int(row[0] > 0)} \n"


@pytest.mark.parametrize("batch_size", [1, 3, 7, 10])
def test_result_arrays_hold_all_samples_in_order(batch_size: int, tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(7, 5, 2)).astype(np.float32)
    stems = [f"image {i}" for i in range(7)]
    shown = [np.zeros((batch_size, 5, 2), np.float32), np.zeros((batch_size, 1, 2), bool)]
    with sinks.ResultArrays(tmp_path, stems, shown, batch_size) as sink:
        write_batches(sink, values, batch_size)
        assert not (tmp_path / "results_1.npy").exists()
    np.testing.assert_array_equal(np.load(tmp_path / "results_1.npy"), values)
    np.testing.assert_array_equal(np.load(tmp_path / "results_2.npy"), values[:, :1] > 0)
    assert (tmp_path / "results.names").read_text().splitlines() == stems
    assert len(list(tmp_path.iterdir())) == 3


def test_result_arrays_of_a_failed_run_are_not_there_under_their_names(tmp_path: Path) -> None:
    shown = [np.zeros((2, 5), np.float32)]
    with (
        pytest.raises(ZeroDivisionError),
        sinks.ResultArrays(tmp_path, ["a", "b"], shown, 2),
    ):
        raise ZeroDivisionError
    assert [path.name for path in tmp_path.iterdir()] == [".results_1.npy.partial"]


def test_nothing_is_written_through_a_link_that_somebody_has_planted(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.write_text("precious")
    folder = tmp_path / "dumps"
    folder.mkdir()
    scores = np.zeros((1, 5), np.float32)
    (folder / "a_1.txt").symlink_to(mine)
    with pytest.raises(FileExistsError, match=r"a_1\.txt"):
        sinks.DumpFiles(folder, ["a"], binary=False).write(Batch(scores, 0, 1, [scores]))
    for plant in (Path.symlink_to, Path.hardlink_to):
        plant(folder / ".results_1.npy.partial", mine)
        with sinks.ResultArrays(folder, ["a"], [scores], 1) as sink:
            sink.keep({}, 1)
            sink.write(Batch(scores, 0, 1, [scores]))
    assert mine.read_text() == "precious"
    assert sorted(path.name for path in folder.iterdir()) == ["results.names", "results_1.npy"]


def test_a_batch_that_ends_late_is_not_noted_any_more(tmp_path: Path) -> None:
    """A thread that was given up may come back when the ledger is closed."""
    scores = np.zeros((1, 5), np.float32)
    batch = Batch(scores, 0, 1, [scores])
    folder = tmp_path / "dumps"
    folder.mkdir()
    results = sinks.DumpFiles(folder, ["a"], binary=True)
    with Ledger(folder, {}) as book:
        with resume.Booked(results, book, 1) as sink:
            pass
        sink.write(batch)
    with Ledger(folder, {}) as book:
        assert book.done == {}


@given(
    done=st.dictionaries(
        st.one_of(st.integers(-2, 12).map(str), st.text(max_size=2)),
        st.dictionaries(st.just("files"), st.one_of(st.none(), st.lists(st.integers()))),
    ),
    samples=st.integers(1, 30),
    batch_size=st.integers(1, 5),
)
def test_every_sample_is_either_kept_or_run_whatever_the_ledger_says(
    done: dict[str, dict[str, Any]], samples: int, batch_size: int
) -> None:
    class Credulous:
        def keep(self, done: Mapping[int, list[Any]], batch_size: int) -> set[int]:
            return set(done)

        def write(self, batch: Batch) -> list[Any]:
            raise NotImplementedError

    plan = resume.plan(done, Credulous(), samples, batch_size)
    run = {s for n in plan.batches for s in range(samples) if s // batch_size == n}
    assert plan.kept + len(run) == samples
    assert run, "no run is without figures"


def test_result_arrays_refuse_outputs_of_changing_size(tmp_path: Path) -> None:
    shown = [np.zeros((4, 6), np.float32)]
    with (
        pytest.raises(PipelineError, match="differ in size from sample to sample"),
        sinks.ResultArrays(tmp_path, ["a", "b"], shown, 1) as sink,
    ):
        sink.write(Batch(np.zeros(1), 0, 1, [np.zeros((5, 6), np.float32)]))


def test_an_output_without_a_batch_belongs_to_the_only_sample() -> None:
    output = np.arange(12).reshape(4, 3)
    np.testing.assert_array_equal(sinks.row_of(output, 0, 1), output)
    np.testing.assert_array_equal(sinks.row_of(output[:1], 0, 1), output[0])
    np.testing.assert_array_equal(sinks.row_of(output, 2, 4), output[2])
    assert sinks.row_of(np.float32(3), 0, 1) == 3  # type: ignore[arg-type]
    sinks.check_outputs([output], ["boxes"], 1)
    with pytest.raises(PipelineError, match=r"'boxes' has the shape \(4, 3\) for a batch of 2"):
        sinks.check_outputs([output], ["boxes"], 2)
    with pytest.raises(PipelineError, match="no numbers"):
        sinks.check_outputs([np.array(["a"])], ["words"], 1)


def test_only_results_are_removed_from_a_dump_folder(tmp_path: Path) -> None:
    ours = ["a_1.txt", "a b_2.bin", "results_1.npy", "results.names", ".results_1.npy.partial"]
    others = ["notes.txt", "a.txt", "sumary.json", "results.npy", "x_1.npy", "val_00000001.bin"]
    for name in ours + others:
        (tmp_path / name).write_text("x")
    (tmp_path / "folder_1.txt").mkdir()
    assert sinks.remove_results(tmp_path) == len(ours)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*others, "folder_1.txt"])


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 20)), max_size=8))
def test_covered_time_is_the_size_of_the_union(pieces: list[tuple[int, int]]) -> None:
    intervals = [(start, start + length) for start, length in pieces]
    moments = {t for start, end in intervals for t in range(start, end)}
    assert covered_ns(intervals) == len(moments)


def span(first: int, last: int, busy: int = 1) -> Span:
    made = Span()
    made.add(first, first + busy)
    made.add(last, last)
    return made


@settings(max_examples=50)
@given(st.integers(1, 500), st.integers(1, 33), st.integers(1, 10**9))
def test_figures_of_a_run_hold_together_as_published_ones_do(
    samples: int, batch_size: int, call_ns: int
) -> None:
    batches = -(-samples // batch_size)
    executes = [(i * call_ns * 2, i * call_ns * 2 + call_ns) for i in range(batches)]
    end = 2 * batches * call_ns
    measured = Measured(
        samples=samples,
        batch_size=batch_size,
        read=span(0, end),
        prepare=span(0, end),
        infer=span(0, end),
        post=span(0, end),
        executes=executes,
        calls_ns=[call_ns] * batches,
    )
    perf = dataset_perf(measured)
    assert perf.e2e_rate * perf.e2e_latency_ms / 1000 == pytest.approx(samples)
    assert perf.read_rate * perf.read_latency_ms == pytest.approx(1000)
    assert perf.preprocess_rate * perf.preprocess_latency_ms == pytest.approx(1000)
    assert perf.post_rate * perf.post_latency_ms == pytest.approx(1000)
    assert perf.infer_rate / perf.post_rate == pytest.approx(samples / batches)
    assert perf.interface_rate == pytest.approx(samples / (batches * call_ns) * 1e9)
    assert perf.infer_latency_ms == pytest.approx(call_ns / batch_size / 1e6)


def test_overlapping_calls_count_once_for_the_interface_rate() -> None:
    whole = span(0, 100)
    measured = Measured(4, 2, whole, whole, whole, whole, [(0, 60), (40, 100)], [60, 60])
    assert dataset_perf(measured).interface_rate == pytest.approx(4 / 100e-9)


def test_spans_of_several_threads_become_one() -> None:
    merged = Span.merged([span(5, 9, busy=2), Span(), span(3, 7, busy=4)])
    assert (merged.first, merged.last, merged.busy) == (3, 9, 6)
    assert Span.merged([]).length_ns == 1


def test_pure_figures_are_means_of_rates_and_of_latencies() -> None:
    perf = pure_perf([1_000_000, 3_000_000], batch_size=2)
    assert perf.rate == pytest.approx((2000 + 2000 / 3) / 2)
    assert perf.latency_ms == pytest.approx(1.0)
    assert timing.pure_perf([10**6], 1).rate == pytest.approx(1000)


@pytest.mark.parametrize("dtype", ["float32", "uint8"])
def test_a_picture_is_read_once(dtype: str, tmp_path: Path) -> None:
    """What was read is what is decoded, whatever becomes of the file in between."""
    shape = (3, 224, 224) if dtype == "float32" else (224, 224, 3)
    paths = [tmp_path / f"{i}.jpg" for i in range(3)]
    for seed, path in enumerate(paths):
        path.write_bytes(images.jpeg(images.photo(260, 240, seed)))
    whole = transform.prepare if dtype == "float32" else transform.prepare_pixels
    wanted = [whole(path) for path in paths[1:]]
    source = ImageFiles([str(path) for path in paths])
    batch = Batch(np.zeros((4, *shape), dtype), first=1, count=2)
    source.read(batch)
    for path in paths:
        path.unlink()
    source.prepare(batch)
    for row, picture in enumerate(wanted):
        np.testing.assert_array_equal(batch.tensor[row], picture)
    assert batch.files == []


def run_stage(folder: Path, script: str, *words: str) -> None:
    done = subprocess.run(
        [sys.executable, str(PROJECT / f"{script}.py"), *words],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_pixels_and_floats_come_to_the_same_answers_in_both_engines(tmp_path: Path) -> None:
    """From pictures to TopN, the normalisation once outside the model and once inside."""
    import torch

    from models_vovnet import vovnet

    torch.manual_seed(5)
    network = vovnet.build("vovnet27_slim")
    with torch.no_grad():
        network.train()(torch.randn(4, 3, 224, 224))  # or batch norm would leave numbers vanish
    torch.save(network.state_dict(), tmp_path / "net.pth")
    (tmp_path / "pictures").mkdir()
    labels = []
    for seed in range(10):
        name = f"picture{seed}.jpg"
        picture = images.photo(280 + 9 * seed, 300, seed)
        (tmp_path / "pictures" / name).write_bytes(images.jpeg(picture))
        labels.append(f"{name} {seed * 100}\n")
    (tmp_path / "labels.txt").write_text("".join(labels))
    answers = {}
    for dtype in ("float32", "uint8"):
        words = ("net.pth", f"{dtype}.onnx", "--arch", "vovnet27_slim", "--input", dtype)
        run_stage(tmp_path, "vovnet39_pth2onnx", *words)
        run_stage(tmp_path, "vovnet_torch_preprocess", "pictures", dtype, "--dtype", dtype)
        run_stage(tmp_path, "get_info", "bin", dtype, f"{dtype}.info", "224", "224")
        for engine in ("onnxruntime", "openvino"):
            given = ("-batch_size=4", "-dump=npy", f"-engine={engine}", f"-om_path={dtype}.onnx")
            run_stage(tmp_path, "benchmark", *given, f"-input_text_path={dtype}.info")
            dumps = "result/dumpOutput_device0"
            scores = np.load(tmp_path / dumps / "results_1.npy")
            run_stage(tmp_path, "vision_metric_ImageNet", dumps, "labels.txt", ".", "result.json")
            top = np.argsort(-scores, axis=1)[:, :5]
            answers[dtype, engine] = (scores, top, (tmp_path / "result.json").read_text())
    scores, top, line = answers["float32", "onnxruntime"]
    assert len({tuple(row) for row in top}) > 1, "one answer for all pictures shows nothing"
    for others, other_top, other_line in answers.values():
        np.testing.assert_allclose(others, scores, atol=1e-4 * np.abs(scores).max())
        np.testing.assert_array_equal(other_top, top)
        assert other_line == line


def test_starts_at_the_same_time_share_one_cache(tmp_path: Path) -> None:
    models.save_classifier(tmp_path / "m.onnx", size=32)
    command = [sys.executable, str(PROJECT / "benchmark.py"), "-round=2", "-om_path=m.onnx"]
    environment = os.environ | {"VOVNET39_CACHE": "a cache"}

    def start(device: int) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*command, f"-device_id={device}"],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    for process in [start(device) for device in range(3)]:
        _, err = process.communicate()
        assert process.returncode == 0, err
    out, _ = start(3).communicate()
    assert "(from the cache)" in out
    made = record.load(tmp_path / "result/PureInfer_perf_of_m_in_device_3.txt")
    assert made is not None
    assert made["details"]["start"] == "from the cache"
    assert len(list((tmp_path / "a cache").iterdir())) == 2, "the model, and what is known of it"
