"""A model on a device."""

from __future__ import annotations

import itertools
import os
import time
from pathlib import Path
from typing import Any

import numpy as np

from tests.standins import card, faults, om
from tests.standins.network import Network

from ._tensors import BaseTensor, Tensor, dtype, tensor_desc

_model_ids = itertools.count(1)
_LOG_INFO = 2


class session_options:
    """How a session runs; `log_level` is 1 for debug, 2 for info."""

    def __init__(self) -> None:
        self.loop = 1
        self.log_level = _LOG_INFO
        self.acl_json_path = ""


class infer_options:
    """How a pipeline over files runs."""

    def __init__(self) -> None:
        self.output_dir = ""
        self.auto_dym_shape = False
        self.auto_dym_dims = False
        self.out_format = "BIN"
        self.pure_infer_mode = False


class Sumary:
    """Times of execution: ms in the older generation, (start, end) in ms in the newer."""

    def __init__(self) -> None:
        self.exec_time_list: list[Any] = []


class _Memory:
    def __init__(self) -> None:
        self.H2D_time_list: list[float] = []
        self.D2H_time_list: list[float] = []

    def reset(self) -> None:
        """Forget all times."""
        self.H2D_time_list.clear()
        self.D2H_time_list.clear()


sumary = Sumary  # the name that the binding has for it
_memory = _Memory()


def MemorySummary() -> _Memory:
    """Return the one record of copies between host and device, in ms."""
    return _memory


class InferenceSession:
    """One model on one device."""

    def __init__(self, path: str, device_id: int, options: session_options) -> None:
        self._options = options
        self._device = device_id
        self._sumary = Sumary()
        self._executed = 0
        self._say("acl init success")
        try:
            card.open_device(device_id)
        except card.DeviceError as error:
            print(f"[ERROR] {error}")
            print(f"SetDevice failed.ret={card.OPEN_FAILED}", flush=True)
            # assumed: the exception's text, which only has to name the return code.
            raise RuntimeError(f"[{card.OPEN_FAILED}][{error}]") from None
        self._say(f"open device {device_id} success")
        try:
            self._network: Network | None = Network(Path(path))
        except (om.OmError, OSError) as error:
            print(f"[ERROR] load model from file failed, model file is {path}", flush=True)
            raise RuntimeError(f"[1][ACL:invalid parameter] {error}") from error
        self._say(f"load model {path} success")
        self._model_id = next(_model_ids)
        self._inputs = [_describe(tensor) for tensor in self._network.inputs]
        self._outputs = [_describe(tensor) for tensor in self._network.outputs]
        self._say("create model description success")

    def _say(self, text: str) -> None:
        if self._options.log_level <= _LOG_INFO:
            print(f"[INFO] {text}", flush=True)

    def get_inputs(self) -> list[tensor_desc]:
        """Return the inputs' descriptions."""
        return self._inputs

    def get_outputs(self) -> list[tensor_desc]:
        """Return the outputs' descriptions."""
        return self._outputs

    def options(self) -> session_options:
        """Return the options in force; what is set there holds."""
        return self._options

    def run(self, names: list[str], feeds: Any) -> list[Tensor]:
        """Run one batch, `loop` times; the outputs stay on the device. RuntimeError."""
        if isinstance(feeds, dict):
            feeds = [feeds[desc.name] for desc in self._inputs]
        if self._network is None:
            raise RuntimeError("the session's resources are freed")
        started = time.time()
        data = [self._content(feed) for feed in feeds]
        self._check(data)
        _memory.H2D_time_list.append((time.time() - started) * 1000)
        for _ in range(self._options.loop):
            if reason := faults.strike(self._device, self._executed):
                print(f"[ERROR] acl execute failed: {reason}", flush=True)
                raise RuntimeError(f"[507899][{reason}]")
            begun = time.time()
            results = self._network.execute(data)
            self._keep_time(begun, time.time())
            self._executed += self._network.batch
        _memory.D2H_time_list.append(0.0)
        found = dict(zip((desc.name for desc in self._outputs), results, strict=True))
        return [Tensor(found[name], self._device) for name in names]

    def _content(self, feed: BaseTensor | Tensor) -> bytes:
        if not isinstance(feed, BaseTensor | Tensor):
            raise TypeError("run(): incompatible function arguments")
        return feed.content()

    def _check(self, data: list[bytes]) -> None:
        if len(data) != len(self._inputs):
            raise RuntimeError(f"[1][intensors in:{len(data)} need:{len(self._inputs)} not match]")
        for number, (content, desc) in enumerate(zip(data, self._inputs, strict=True)):
            need = desc.realsize * (2 if faults.is_active("batch_mismatch") else 1)
            if len(content) != need:
                text = (
                    f"Check i:{number} name:{desc.name} in size:{len(content)} "
                    f"needsize:{need} not match"
                )
                print(f"[ERROR] {text}", flush=True)
                raise RuntimeError(f"[101][{text}]")

    def _keep_time(self, begun: float, ended: float) -> None:
        if os.environ.get("STANDIN_AIS") == "23":
            self._sumary.exec_time_list.append(float(np.float32((ended - begun) * 1000)))
        else:
            self._sumary.exec_time_list.append((begun * 1000, ended * 1000))

    def run_pipeline(self, names: Any, feeds: Any, *more: Any) -> list[list[Tensor]]:
        """Run several batches given as arrays; the form over files is not stood in for."""
        if isinstance(feeds, infer_options):
            raise RuntimeError("the stand-in has no pipeline over files")
        outputs = [self.run(names, batch) for batch in feeds]
        for tensor in itertools.chain.from_iterable(outputs):
            tensor.to_host()
        return outputs

    def sumary(self) -> Sumary:
        """Return the times of execution since the last reset."""
        return self._sumary

    def reset_sumaryinfo(self) -> None:
        """Forget times and what has been executed."""
        self._sumary.exec_time_list.clear()
        self._executed = 0

    def set_staticbatch(self) -> None:
        """Use the batch that the model was built with."""

    def get_dym_aipp_input_exist(self) -> int:
        """Return the number of inputs with dynamic AIPP: none."""
        return 0

    def set_context(self) -> None:
        """Bind the calling thread to the device's context."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith(("set_dynamic_", "set_custom_", "aipp_set_", "get_max_dym")):
            raise RuntimeError(f"{name}: the model is static")
        raise AttributeError(name)

    def create_tensor_from_fileslist(self, desc: tensor_desc, files: list[str]) -> Tensor:
        """Return files joined to one tensor on the device."""
        data = b"".join(Path(file).read_bytes() for file in files)
        array = np.frombuffer(data, dtype(desc.datatype).name).reshape(desc.shape)
        return Tensor(array, self._device)

    def free_resource(self) -> None:
        """Unload the model and reset the device."""
        if self._network is not None:
            self._network = None
            self._say(f"unload model success, model Id is {self._model_id}")
            self._say(f"end to reset device is {self._device}")

    @staticmethod
    def finalize() -> None:
        """End the use of all devices."""
        print("[INFO] end to finalize acl", flush=True)

    def __str__(self) -> str:
        lines = ["<Model>", f"device:\t{self._device}"]
        for title, descs in (("input", self._inputs), ("output", self._outputs)):
            lines.append(f"{title}:")
            for number, desc in enumerate(descs):
                shape = ", ".join(map(str, desc.shape))
                kind = dtype(desc.datatype).name
                lines.append(
                    f"  #{number}    {desc.name}  ({shape})  {kind}  {desc.size}  {desc.realsize}"
                )
        return "\n".join(lines) + "\n"


def model(
    modelPath: str, deviceId: int = 0, options: session_options | None = None
) -> InferenceSession:
    """Return a session."""
    return InferenceSession(modelPath, deviceId, options or session_options())


def _describe(tensor: om.Tensor) -> tensor_desc:
    desc = tensor_desc()
    desc.name, desc.shape = tensor.name, list(tensor.shape)
    desc.datatype = dtype[tensor.dtype]
    desc.format = int(tensor.dtype == "uint8" and len(tensor.shape) == 4)
    desc.size = desc.realsize = tensor.size
    return desc
