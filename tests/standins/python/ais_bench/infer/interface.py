"""The Python interface, as the generation in force has it."""

from __future__ import annotations

import importlib
import multiprocessing
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import GENERATION, path_rules

aclruntime: Any = importlib.import_module("aclruntime")
_MODES = ("static", "dymbatch", "dymhw", "dymdims", "dymshape")
_MOST_PROCESSES = 64


class _Session:
    """What both generations have."""

    def __init__(
        self,
        device_id: int,
        model_path: str,
        acl_json_path: str | None = None,
        debug: bool = False,
        loop: int = 1,
    ) -> None:
        if GENERATION == 25:
            path_rules.check_model(model_path)
            if not isinstance(device_id, int) or not 0 <= device_id <= 255:
                raise ValueError(f"device:{device_id} is illegal. legal value range is [0, 255]")
        self.device_id, self.model_path, self.loop = device_id, model_path, loop
        options = aclruntime.session_options()
        if acl_json_path is not None:
            options.acl_json_path = acl_json_path
        options.log_level = 1 if debug else 2
        options.loop = loop
        self.session = aclruntime.InferenceSession(model_path, device_id, options)
        self.outputs_names = [desc.name for desc in self.session.get_outputs()]

    def get_inputs(self) -> list[Any]:
        """Return the descriptions of the inputs."""
        return list(self.session.get_inputs())

    def get_outputs(self) -> list[Any]:
        """Return the descriptions of the outputs."""
        return list(self.session.get_outputs())

    def set_loop_count(self, loop: int) -> None:
        """Execute each batch this many times."""
        self.session.options().loop = loop

    def set_staticbatch(self) -> None:
        """Use the model's own batch."""
        self.session.set_staticbatch()

    def create_tensor_from_fileslist(self, desc: Any, files: list[str]) -> Any:
        """Return files joined to one tensor on the device."""
        return self.session.create_tensor_from_fileslist(desc, files)

    def create_tensor_from_arrays_to_device(self, arrays: NDArray[Any]) -> Any:
        """Return the array as a tensor on the device."""
        tensor = aclruntime.Tensor(arrays)
        tensor.to_device(self.device_id)
        return tensor

    @staticmethod
    def convert_tensors_to_host(tensors: list[Any]) -> None:
        """Move the tensors to the host."""
        for tensor in tensors:
            tensor.to_host()

    @staticmethod
    def convert_tensors_to_arrays(tensors: list[Any]) -> list[NDArray[Any]]:
        """Return the tensors, which are on the host, as arrays."""
        return [np.array(tensor) for tensor in tensors]

    def run(self, feeds: Any, out_array: bool = False) -> list[Any]:
        """Run one batch: arrays or tensors in, tensors on the device out, or arrays."""
        inputs = feeds
        if len(feeds) > 0 and isinstance(feeds[0], np.ndarray):
            # The address alone goes through, as it does there: strides are lost.
            inputs = [
                aclruntime.BaseTensor(array.__array_interface__["data"][0], array.nbytes)
                for array in feeds
            ]
        outputs = self.session.run(self.outputs_names, inputs)
        if not out_array:
            return list(outputs)
        self.convert_tensors_to_host(outputs)
        return self.convert_tensors_to_arrays(outputs)

    def _prepare(self, feeds: Any, mode: str) -> list[Any]:
        if GENERATION == 25 and (not isinstance(feeds, list) or not feeds):
            raise ValueError("the list be checked is not a list!")
        if GENERATION == 25 and mode not in _MODES:
            raise ValueError("infer mode is illegal, Please check.")
        if mode != "static" and (GENERATION == 25 or mode in ("dymdims", "dymshape")):
            raise RuntimeError(f"not a {mode} model!")
        return [_as_feed(feed) for feed in feeds]


def _as_feed(feed: Any) -> Any:
    if isinstance(feed, np.ndarray):
        # The older one passes the address of an array whose elements do not follow each other.
        return np.ascontiguousarray(feed) if GENERATION == 25 else feed
    if isinstance(feed, np.generic):
        return np.array(feed)
    if isinstance(feed, aclruntime.Tensor):
        return feed
    if hasattr(feed, "type") and str(feed.type()).startswith("torch."):
        return np.ascontiguousarray(feed.numpy())
    raise RuntimeError(f"type:{type(feed)} invalid")


class _Session23(_Session):
    """The interface of 2023."""

    def infer(
        self, feeds: Any, mode: str = "static", custom_sizes: Any = 100000
    ) -> list[NDArray[Any]]:
        """Run one batch; return the outputs as arrays."""
        return self.run(self._prepare(feeds, mode), out_array=True)

    def sumary(self) -> Any:
        """Return the times of execution, in ms."""
        return self.session.sumary()

    def reset_sumaryinfo(self) -> None:
        """Forget the times."""
        self.session.reset_sumaryinfo()

    def finalize(self) -> None:
        """Unload the model, end the use of the device."""
        self.session.free_resource()
        self.session.finalize()


class _Session25(_Session):
    """The interface of 2025."""

    def infer(
        self,
        feeds: Any,
        mode: str = "static",
        custom_sizes: Any = 100000,
        out_array: bool = True,
    ) -> list[Any]:
        """Run one batch; return the outputs as arrays, or as tensors on the device."""
        return self.run(self._prepare(feeds, mode), out_array)

    def infer_pipeline(
        self, feeds_list: list[Any], mode: str = "static", custom_sizes: Any = 100000
    ) -> list[list[NDArray[Any]]]:
        """Run several batches; return the outputs of each."""
        prepared = [self._prepare(feeds, mode) for feeds in feeds_list]
        batches = [
            [aclruntime.BaseTensor(a.__array_interface__["data"][0], a.nbytes) for a in arrays]
            for arrays in (
                [np.array(f) if isinstance(f, aclruntime.Tensor) else f for f in p]
                for p in prepared
            )
        ]
        shapes = [[list(array.shape) for array in arrays] for arrays in prepared]
        outputs = self.session.run_pipeline(self.outputs_names, batches, shapes, False, False)
        return [self.convert_tensors_to_arrays(output) for output in outputs]

    def summary(self) -> Any:
        """Return the times of execution, (start, end) in ms."""
        return self.session.sumary()

    def reset_summaryinfo(self) -> None:
        """Forget the times."""
        self.session.reset_sumaryinfo()

    def get_dym_aipp_input_exist(self) -> int:
        """Return how many inputs have dynamic AIPP."""
        return int(self.session.get_dym_aipp_input_exist())

    def free_resource(self) -> None:
        """Unload the model."""
        self.session.free_resource()

    @staticmethod
    def finalize() -> None:
        """End the use of all devices."""
        aclruntime.InferenceSession.finalize()


class _MultiDeviceSession:
    """One process per feed; the newer generation alone has it.

    As there, a process that fails is only logged, and its outputs are missing from the result;
    and `summary` is a dict that hides the method of its name.
    """

    def __init__(
        self,
        model_path: str,
        acl_json_path: str | None = None,
        debug: bool = False,
        loop: int = 1,
    ) -> None:
        path_rules.check_model(model_path)
        self.model_path, self.debug, self.loop = model_path, debug, loop
        self.acl_json_path = acl_json_path
        self.summary: dict[int, list[float]] = {}

    def infer(
        self, device_feeds: dict[int, list[Any]], mode: str = "static", custom_sizes: Any = 100000
    ) -> dict[int, list[list[NDArray[Any]]]]:
        """Run each device's batches; return their outputs by device."""
        count = sum(map(len, device_feeds.values()))
        if not 0 < count <= _MOST_PROCESSES:
            raise RuntimeError(f"subprocess count over max permitted count: {_MOST_PROCESSES}")
        queue = multiprocessing.Manager().Queue()
        with multiprocessing.Pool(count) as pool:
            for device, batches in device_feeds.items():
                for feeds in batches:
                    pool.apply_async(
                        self._infer_there,
                        (queue, device, feeds, mode),
                        error_callback=_print_failure,
                    )
            pool.close()
            pool.join()
        outputs: dict[int, list[list[NDArray[Any]]]] = {}
        self.summary.clear()
        while queue.qsize():
            device, result, started, ended = queue.get()
            outputs.setdefault(device, []).append(result)
            self.summary.setdefault(device, []).append((ended - started) * 1000)
        return outputs

    def _infer_there(self, queue: Any, device: int, feeds: Any, mode: str) -> None:
        session = _Session25(device, self.model_path, self.acl_json_path, self.debug, self.loop)
        started = time.time()
        outputs = session.infer(feeds, mode)
        queue.put([device, outputs, started, time.time()])


def _print_failure(error: BaseException) -> None:
    print(f"[ERROR] subprocess run failed error_callback:{error}", flush=True)


class _MemorySummary23:
    """Times of copies, in ms."""

    @staticmethod
    def get_H2D_time_list() -> list[float]:
        """Return those to the device."""
        return list(aclruntime.MemorySummary().H2D_time_list)

    @staticmethod
    def get_D2H_time_list() -> list[float]:
        """Return those to the host."""
        return list(aclruntime.MemorySummary().D2H_time_list)

    @staticmethod
    def reset() -> None:
        """Forget all."""
        aclruntime.MemorySummary().reset()


class _MemorySummary25:
    """Times of copies, in ms."""

    @staticmethod
    def get_h2d_time_list() -> list[float]:
        """Return those to the device."""
        return list(aclruntime.MemorySummary().H2D_time_list)

    @staticmethod
    def get_d2h_time_list() -> list[float]:
        """Return those to the host."""
        return list(aclruntime.MemorySummary().D2H_time_list)

    @staticmethod
    def reset() -> None:
        """Forget all."""
        aclruntime.MemorySummary().reset()


InferSession: Any
MemorySummary: Any
if GENERATION == 23:
    InferSession, MemorySummary = _Session23, _MemorySummary23
else:
    InferSession, MemorySummary = _Session25, _MemorySummary25
    MultiDeviceSession = _MultiDeviceSession
