"""The stand-in of `benchmark.x86_64` and `benchmark.aarch64`."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from statistics import fmean

import numpy as np

from tests.standins import card, faults, om
from tests.standins.benchmark_options import Options, UsageError, parse
from tests.standins.benchmark_samples import (
    ToolError,
    check_batch,
    compose,
    read_info,
    read_sample,
    write_dumps,
)
from tests.standins.network import Network

RESULT = Path("result")
FAILED = 1  # documented: not zero; assumed: which
RULE = "-" * 64


def main(words: list[str]) -> int:
    """Run as the command line says, in the current directory; return the exit status."""
    print("stand-in for benchmark: its figures are those of this processor", file=sys.stderr)
    try:
        options = parse(words)
    except UsageError as error:
        print(f"ERROR: {error}", file=sys.stderr)
        return FAILED
    try:
        network = _open(options)
        RESULT.mkdir(exist_ok=True)
        return _pure(options, network) if options.rounds else _data_set(options, network)
    except ToolError as error:
        print(f"[ERROR] {error}")
        return FAILED


def _open(options: Options) -> Network:
    try:
        card.open_device(options.device)
    except card.DeviceError as error:
        raise ToolError(f"{error}, ret={card.OPEN_FAILED}") from None
    try:
        network = Network(Path(options.om_path))
    except (om.OmError, OSError) as error:
        raise ToolError(
            f"load model from file failed, model file is {options.om_path}: {error}"
        ) from error
    check_batch(network, options.batch_size)
    return network


class _Times:
    """Seconds of one run: of each sample or batch by stage, and when inference began and ended."""

    def __init__(self) -> None:
        self.started = time.perf_counter()
        self.read: list[float] = []
        self.preprocess: list[float] = []
        self.execute: list[float] = []
        self.infer: list[float] = []
        self.span = [0.0, 0.0]


def _data_set(options: Options, network: Network) -> int:
    batch, device = network.batch, options.device
    samples = read_info(
        options.input_text_path, len(network.inputs), options.model_type == "vision"
    )
    folder = RESULT / f"dumpOutput_device{device}"
    folder.mkdir(exist_ok=True)
    times, counter = _Times(), faults.Samples()
    for first in range(0, len(samples), batch):
        part = samples[first : first + batch]
        contents = []
        for files in part:
            begun = time.perf_counter()
            contents.append(read_sample(files))
            times.read.append(time.perf_counter() - begun)
        begun = time.perf_counter()
        feeds = compose(network, contents, part)
        times.preprocess.append((time.perf_counter() - begun) / len(part))
        if reason := faults.strike(device, first):
            raise ToolError(reason)
        begun = time.perf_counter()
        times.span[0] = times.span[0] or begun
        arrays = [memoryview(feed) for feed in feeds]
        executing = time.perf_counter()
        outputs = network.execute(arrays)
        times.execute.append(time.perf_counter() - executing)
        times.infer.append(time.perf_counter() - begun)
        for row, files in enumerate(part):
            if (status := counter.exit_status()) is not None:
                return status
            write_dumps(folder, files[0].stem, outputs, row, batch, options.output_binary)
            counter.written += 1
        times.span[1] = time.perf_counter()
    if (status := counter.exit_status()) is not None:
        return status
    name = f"perf_{options.model_type}_batchsize_{batch}_device_{device}.txt"
    (RESULT / name).write_text(perf_text(times, len(samples), batch))
    # assumed: what is printed in this mode.
    print(f"[INFO] Dataset number: {len(samples)} finished\n[INFO] perf saved in ./result/{name}")
    return 0


def perf_text(times: _Times, count: int, batch: int) -> str:
    """Return the five lines of a run of `count` samples."""
    whole = (time.perf_counter() - times.started) * 1000
    span = (times.span[1] - times.span[0]) * 1000
    batches = -(-count // batch)
    read, preprocess = fmean(times.read) * 1000, fmean(times.preprocess) * 1000
    interface = count / sum(times.execute)
    infer = fmean(times.infer) * 1000 / batch
    late = os.environ.get("STANDIN_PERF_TAGS") == "5.1"
    return (
        f"[e2e] throughputRate: {count / whole * 1000:.6g}, latency: {whole:.6g}\n"
        f"[data read] throughputRate: {1000 / read:.6g}, moduleLatency: {read:.6g}\n"
        f"[preprocess] throughputRate: {1000 / preprocess:.6g}, moduleLatency: {preprocess:.6g}\n"
        f"[{'inference' if late else 'infer'}] throughputRate: {count / span * 1000:.6g}, "
        f"Interface throughputRate: {interface:.6g}, moduleLatency: {infer:.6g}\n"
        f"[{'postprocess' if late else 'post'}] throughputRate: {batches / span * 1000:.6g}, "
        f"moduleLatency: {span / batches:.6g}\n"
    )


def _pure(options: Options, network: Network) -> int:
    generator = np.random.default_rng(0)
    batch, rounds = network.batch, options.rounds or 0
    feeds = [
        generator.integers(0, 255, tensor.size, np.uint8).tobytes()
        if tensor.dtype == "uint8"
        else generator.random(tensor.shape).astype(tensor.dtype).tobytes()
        for tensor in network.inputs
    ]
    costs = []
    for number in range(rounds):
        if reason := faults.strike(options.device, number * batch):
            raise ToolError(reason)
        begun = time.perf_counter()
        network.execute(feeds)
        costs.append((time.perf_counter() - begun) * 1000)
        print(f"[INFO] Dataset number: {number} finished cost {costs[-1]:.6g}ms")
    rate = fmean(1000 * batch / cost for cost in costs)
    latency = fmean(cost / batch for cost in costs)
    stem = Path(options.om_path).stem
    name = f"PureInfer_perf_of_{stem}_in_device_{options.device}.txt"
    (RESULT / name).write_text(
        f"ave_throughputRate = {rate:.6g}samples/s, ave_latency = {latency:.6g}ms\n"
    )
    print(f"[INFO] PureInfer result saved in ./result/{name}")
    print("-----------------PureInfer Performance Summary------------------")
    print(f"[INFO] ave_throughputRate: {rate:.6g}samples/s, ave_latency: {latency:.6g}ms")
    print(RULE)
    return 0
