"""Ascend: an om on the chips of a card, through the Python interface of ais_bench.

Each device has a process of its own (`ascend_device` says why), which takes one batch at a time;
the next one waits there meanwhile, so that the device need not wait for its hand-over. Batches lie
in memory that all processes share and are not copied on the way.

What the interface does not document is marked `assumed:` where it stands.
"""

from __future__ import annotations

import atexit
import math
import re
import weakref
from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from pipeline.ascend import remedies
from pipeline.engines import (
    CONVERTED,
    DeviceLost,
    Engine,
    Settings,
    TensorInfo,
    ascend_device,
)
from pipeline.engines.ascend_device import Feed, Opened
from pipeline.engines.device_process import Arena, DeviceFailure, DeviceProcess
from pipeline.engines.model_file import OM, ModelFile
from pipeline.errors import PipelineError, one_line

# Element types by ACL's numbers (aclDataType, acl/acl_base.h), named as NumPy names them.
_NAMES = (
    *("float32", "float16", "int8", "int32", "uint8", "", "int16", "uint16", "uint32"),
    *("int64", "uint64", "float64", "bool"),
)
_DTYPES = {number: name for number, name in enumerate(_NAMES) if name}
_SLOTS = 2  # per device: one batch on it, and one that waits
_LONGEST = 300
# What no tool but this engine says.
_REMEDIES = (
    (
        r"illegal|[Ss]uffix of path|not in \['om'\]",
        "ais_bench takes a model whose path has only letters, digits and _ . / -, ends in .om, and"
        " that no other user may write to: move it",
    ),
    (r"needsize", "convert it again, with the batch and the AIPP that are meant"),
    (r"SIGKILL", "often the memory is too small; look at dmesg, and at npu-smi info"),
)
_CHECK = "look at the device with npu-smi info"
_INSTALL = (
    "an om needs an Ascend card with CANN, ais_bench and aclruntime: source CANN's set_env.sh and"
    " install both wheels there, or give the .onnx file here"
)


class AscendSession:
    """An om on one or more devices; see `pipeline.engines.Session`.

    Request r belongs to device r modulo their number. `called[request]` are start and end of the
    call on the device, where `infer` may have waited for its turn. `executed[request]` is as long
    as the interface says that the device executed, within that call: where in it, it does not say.
    """

    engine = "ascend"
    precision = CONVERTED
    start = "converted by atc"

    def __init__(self, model: ModelFile, settings: Settings) -> None:
        self.devices = settings.devices
        slots = settings.requests or _SLOTS
        self.threads = len(self.devices)  # one in each process
        self.requests = slots * len(self.devices)
        self.executed = [(0, 0)] * self.requests
        self.called = [(0, 0)] * self.requests
        self._arena = Arena()
        self._own: dict[int, NDArray[Any]] = {}
        self._lost: dict[int, DeviceLost] = {}
        self._processes: list[DeviceProcess] = []
        # At the end of this session or of the process, whichever comes first.
        self._close = weakref.finalize(self, _close, self._processes, self._arena)
        self._close.atexit = False
        atexit.register(self._close)
        # Generation 2025 takes no link for a model.
        path = str(model.path.resolve())
        try:
            for device in self.devices:
                self._processes.append(DeviceProcess(device, path, slots, self._arena))
            opened = [self._wait(process, model) for process in self._processes]
        except BaseException:
            self.cancel()
            raise
        first = opened[0]
        self.version = ", ".join(first.versions).removeprefix("ais_bench ")
        self.inputs = tuple(_tensor_info(tensor, model) for tensor in first.inputs)
        self.outputs = tuple(_tensor_info(tensor, model) for tensor in first.outputs)

    def new_batch(self, shape: tuple[int, ...]) -> NDArray[Any]:
        """Return zeros of the model's input in memory that the devices' processes see."""
        return self._arena.new(shape, self.inputs[0].dtype)

    def device_of(self, request: int) -> int:
        """Return the device that runs a request's batches."""
        return self.devices[request % len(self.devices)]

    def cpu_s(self) -> float:
        """Return the processor time of the devices' processes so far."""
        return sum(process.cpu_s() for process in self._processes)

    def infer(self, request: int, batch: NDArray[Any]) -> list[NDArray[Any]]:
        """Run one batch; DeviceLost where its device fails, and from then on."""
        device, process = self.device_of(request), self._process_of(request)
        if lost := self._lost.get(device):
            raise lost
        place = self._arena.place(batch)
        if place is None:
            place = self._copied(request, batch)
        feed = Feed(place, batch.shape, batch.dtype.str)
        try:
            answer = process.infer(request // len(self.devices), feed)
        except DeviceFailure as error:
            self._lose(device, error)
        spare = (answer.ended - answer.started - answer.executed_ns) // 2
        self.called[request] = (answer.started, answer.ended)
        self.executed[request] = (answer.started + spare, answer.ended - spare)
        return answer.outputs

    def cancel(self) -> None:
        """End the processes."""
        for process in self._processes:
            process.kill()

    def _process_of(self, request: int) -> DeviceProcess:
        return self._processes[request % len(self.devices)]

    def _copied(self, request: int, batch: NDArray[Any]) -> int:
        """Copy a batch from elsewhere to the request's own place in the shared memory."""
        own = self._own.get(request)
        if own is None or own.nbytes < batch.nbytes or own.dtype != batch.dtype:
            own = self._own[request] = self._arena.new(batch.shape, batch.dtype)
        np.copyto(own.reshape(-1)[: batch.size].reshape(batch.shape), batch)
        place = self._arena.place(own)
        assert place is not None
        return place

    def _lose(self, device: int, error: DeviceFailure) -> NoReturn:
        self._processes[self.devices.index(device)].kill()  # whatever it still would do
        text = _say(error)
        lost = DeviceLost(f"device {device} failed: {text}", _remedy(text))
        raise self._lost.setdefault(device, lost) from error

    def _wait(self, process: DeviceProcess, model: ModelFile) -> Opened:
        try:
            return process.opened()
        except DeviceFailure as error:
            if error.is_import:
                raise PipelineError(f"ais_bench cannot be used: {_say(error)}", _INSTALL) from error
            text = _say(error)
            raise PipelineError(
                f"device {process.device} does not take {model.path}: {text}", _remedy(text)
            ) from error


def _close(processes: Sequence[DeviceProcess], arena: Arena) -> None:
    """Let all devices go at the same time, then wait for each."""
    for process in processes:
        process.dismiss()
    for process in processes:
        process.end()
    arena.close()


def _say(error: DeviceFailure) -> str:
    return " ".join(one_line(str(error).replace("\n", " ")).split())[:_LONGEST]


def _remedy(text: str) -> str:
    own = next((hint for words, hint in _REMEDIES if re.search(words, text)), "")
    return own or remedies.find(text) or _CHECK


def _tensor_info(tensor: ascend_device.Tensor, model: ModelFile) -> TensorInfo:
    where = f"{model.path}: {tensor.name!r}"
    if tensor.dtype not in _DTYPES:
        raise PipelineError(
            f"{where} has the element type {tensor.dtype} of ACL, which NumPy lacks",
            "convert it with --output_type=FP32",
        )
    dtype = np.dtype(_DTYPES[tensor.dtype])
    if any(size < 1 for size in tensor.shape):
        shape = "x".join(map(str, tensor.shape))
        raise PipelineError(
            f"{where} has the shape {shape}, which is not fixed",
            "convert it with a fixed --input_shape",
        )
    # assumed: of a static shape both say the same, also behind AIPP.
    if dtype.itemsize * math.prod(tensor.shape) != tensor.size:
        raise PipelineError(
            f"{where} is {dtype} of shape {tensor.shape} and has {tensor.size} bytes",
            "the two do not agree; say so in a report, with what npu-smi info and atc print",
        )
    return TensorInfo(tensor.name, tensor.shape, dtype)


ENGINE = Engine(
    name="ascend",
    package="ais_bench",
    rank=3,
    kinds=frozenset({OM}),
    precisions=("fp32",),
    open_session=AscendSession,
    remedy=_INSTALL,
    on_card=True,
)
