"""One run of `python3 -m ais_bench`: on one device, or on several with a process each."""

from __future__ import annotations

import argparse
import copy
import importlib.metadata
import itertools
import logging
import math
import multiprocessing
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from tests.standins import faults

from . import GENERATION, files, summary
from .interface import InferSession, MemorySummary

logger = logging.getLogger("ais_bench")
_BAR = "|██████████|"
_WAIT_S = 10  # for the other devices


def run(options: argparse.Namespace) -> int:
    """Run as the options say; return the exit status. RuntimeError ends it with a traceback."""
    logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="[%(levelname)s] %(message)s")
    print("stand-in for ais_bench: its figures are this processor's", file=sys.stderr)
    if importlib.metadata.version("aclruntime") != "0.0.2":
        logger.warning("aclruntime version is lower please update aclruntime")
        options.run_mode = "tensor"
    if isinstance(options.device, list):
        return _run_on_several(options)
    return _run_on_one(options)


def _run_on_one(options: argparse.Namespace, index: int = 0, queue: Any = None) -> int:
    session = _open(options)
    descs = session.get_inputs()
    prefix = _make_folder(options)
    batches = files.batches(_inputs(options), descs)
    _warm_up(session, options, batches[0])
    if queue is not None:
        _wait_for_others(queue, index, options.process_count)
    started = time.time()
    saved = _Saved(prefix, options)
    for number, batch in enumerate(batches):
        outputs = session.run(_feeds(session, options, batch), False)
        session.convert_tensors_to_host(outputs)
        if prefix is not None:
            status = saved.save(number, session.convert_tensors_to_arrays(outputs), batch)
            if status is not None:
                return status
    shown = {"full": "Processing full"}.get(options.run_mode, f"{options.run_mode} Processing")
    count = len(batches)
    rate = count / max(time.time() - started, 1e-9)
    print(f"Inference {shown}: 100%{_BAR} {count}/{count} [00:00<00:00, {rate:.2f}it/s]")
    throughput = summary.report(
        _times(session), options.batchsize, saved.info, prefix, options.display_all_summary
    )
    if queue is not None:
        queue.put([index, throughput, started, time.time()])
    if GENERATION == 25:
        session.free_resource()
    session.finalize()
    return 0


def _inputs(options: argparse.Namespace) -> list[str]:
    return [] if options.input is None else str(options.input).split(",")


def _open(options: argparse.Namespace) -> Any:
    session = InferSession(options.device, options.model, None, options.debug, options.loop)
    session.set_staticbatch()
    if options.batchsize is None:
        options.batchsize = session.get_inputs()[0].shape[0]
        logger.info("try get model batchsize:%d", options.batchsize)
    if options.debug:
        logger.info("session info:%s", session.session)
    return session


def _make_folder(options: argparse.Namespace) -> Path | None:
    if options.output is None:
        return None
    name = options.output_dirname or time.strftime("%Y_%m_%d-%H_%M_%S")
    prefix = Path(options.output) / name / getattr(options, "device_folder", "")
    prefix.mkdir(mode=0o755 if GENERATION == 23 else 0o750, parents=True, exist_ok=True)
    logger.info("output path:%s", prefix)
    return prefix


def _feeds(session: Any, options: argparse.Namespace, batch: list[list[str]]) -> list[Any]:
    feeds = []
    for desc, names in zip(session.get_inputs(), batch, strict=True):
        if options.run_mode == "files":
            real = [names[0] if name == files.PADDING else name for name in names]
            feeds.append(session.create_tensor_from_fileslist(desc, real))
            continue
        array = files.gather(names, desc.realsize, options.pure_data_type)
        in_array = options.run_mode == "array"
        feeds.append(array if in_array else session.create_tensor_from_arrays_to_device(array))
    return feeds


def _warm_up(session: Any, options: argparse.Namespace, batch: list[list[str]]) -> None:
    feeds = _feeds(session, options, batch)
    session.set_loop_count(1)
    for _ in range(options.warmup_count):
        session.run(feeds, True)
    session.set_loop_count(options.loop)
    (session.reset_sumaryinfo if GENERATION == 23 else session.reset_summaryinfo)()
    MemorySummary.reset()
    logger.info("warm up %d done", options.warmup_count)


class _Saved:
    """The results of a run: files, and which came from which input."""

    def __init__(self, prefix: Path | None, options: argparse.Namespace) -> None:
        self._prefix = prefix
        self._options = options
        self._counter = faults.Samples()
        self.info: dict[int, dict[str, list[str]]] = {}

    def save(
        self, number: int, outputs: list[np.ndarray[Any, Any]], batch: list[list[str]]
    ) -> int | None:
        """Write a batch; return a status where a fault ends the run here."""
        assert self._prefix is not None
        parts = [
            files.split(output, batch, self._options.output_batchsize_axis) for output in outputs
        ]
        ending = self._options.outfmt.lower()
        for place, name in enumerate(batch[0]):
            if name == files.PADDING:
                continue
            if (status := self._counter.exit_status()) is not None:
                return status
            sample = number * len(batch[0]) + place
            entry = {"infiles": [names[place] for names in batch], "outfiles": []}
            for k, part in enumerate(parts):
                target = self._prefix / f"{files.stem(name)}_{k}.{ending}"
                files.save(target, part[place])
                entry["outfiles"].append(str(target))
            self.info[sample] = entry
            self._counter.written += 1
        return self._counter.exit_status()


def _times(session: Any) -> dict[str, list[float]]:
    if GENERATION == 23:
        return {
            "NPU_compute_time": list(session.sumary().exec_time_list),
            "H2D_latency": list(MemorySummary.get_H2D_time_list()),
            "D2H_latency": list(MemorySummary.get_D2H_time_list()),
        }
    return {
        "NPU_compute_time": [end - start for start, end in session.summary().exec_time_list],
        "H2D_latency": list(MemorySummary.get_h2d_time_list()),
        "D2H_latency": list(MemorySummary.get_d2h_time_list()),
    }


def _wait_for_others(queue: Any, index: int, count: int) -> None:
    queue.put(index)
    deadline = time.monotonic() + _WAIT_S
    while queue.qsize() < count and time.monotonic() < deadline:
        time.sleep(0.05)
    logger.info("subprocess_%d qsize:%d ready to infer run", index, queue.qsize())


def _run_on_several(options: argparse.Namespace) -> int:
    logger.info("multidevice:%s run begin", options.device)
    devices = options.device
    options.process_count = len(devices)
    # As there: the newer one gives each device all inputs unless told to divide them.
    divided = options.input is not None and (GENERATION == 23 or options.divide_input)
    shares = _divide(options, len(devices)) if divided else [options.input] * len(devices)
    when = options.output_dirname or time.strftime("%Y_%m_%d-%H_%M_%S")
    with multiprocessing.Pool(len(devices)) as pool:
        queue = multiprocessing.Manager().Queue()
        for index, device in enumerate(devices):
            own = copy.deepcopy(options)
            own.device, own.input = device, shares[index]
            own.output_dirname = when if options.output else None
            own.device_folder = f"device{device}" + (f"_{index}" if GENERATION == 25 else "")
            pool.apply_async(_run_on_one, (own, index, queue), error_callback=_print_failure)
        pool.close()
        pool.join()
    result = int(queue.qsize() != 2 * len(devices))
    logger.info("multidevice run end qsize:%d result:%d", queue.qsize(), result)
    total = 0.0
    while queue.qsize():
        entry = queue.get()
        if isinstance(entry, list):
            index, throughput, started, ended = entry
            print(
                f"i:{index} device_{devices[index]} throughput:{throughput} "
                f"start_time:{started} end_time:{ended}"
            )
            total += throughput
    logger.info("summary throughput:%s", total)
    return result


def _print_failure(error: BaseException) -> None:
    logger.error("subprocess run failed error_callback:%s", error)


def _divide(options: argparse.Namespace, count: int) -> list[str]:
    given = options.input.split(",")
    names = given if Path(given[0]).is_file() else files.listed(given[0])
    if Path(given[0]).is_dir() and len(given) > 1:
        raise RuntimeError("the stand-in divides the files of one input only")
    if GENERATION == 23:
        each = math.ceil(len(names) / count)
        sizes = [each] * count
    else:
        sizes = [len(names) // count + (place < len(names) % count) for place in range(count)]
    ends = list(itertools.accumulate(sizes))
    return [",".join(names[end - size : end]) for size, end in zip(sizes, ends, strict=True)]
