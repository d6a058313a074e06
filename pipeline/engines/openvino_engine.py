"""OpenVINO, the faster engine: several inferences in flight, each on its share of the cores."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline import machine
from pipeline.engines import (
    INT8,
    Engine,
    Session,
    Settings,
    TensorInfo,
    cache,
    failure,
    model_file,
    usable_threads,
)
from pipeline.engines.model_file import IR, ONNX, ModelFile
from pipeline.errors import PipelineError

# What is not quantised in an int8 model runs in fp32.
_HINTS = {"fp32": "f32", "bf16": "bf16", INT8: "f32"}
_NAMES = {"f32": "fp32", "bf16": "bf16", "f16": "fp16"}
# What the processor has to have, by OpenVINO's words. Asked for bf16 without it, OpenVINO silently
# takes f32 on one processor and slowly emulates bf16 on another.
_CAPABILITIES = {"fp32": "FP32", "bf16": "BF16", INT8: "INT8"}
_INT8_TYPES = frozenset(("u8", "i8"))
_WEIGHTED = frozenset(("Convolution", "FullyConnected", "MatMul"))


class OpenVinoSession:
    """A model in OpenVINO on the processor; see `pipeline.engines.Session`."""

    engine = "openvino"

    def __init__(self, model: ModelFile, settings: Settings) -> None:
        import openvino

        self._tensor = openvino.Tensor
        self.version: str = openvino.get_version().split("-")[0]
        core = openvino.Core()
        _check_processor(core, settings.precision)
        made = _Making(core, model, settings)
        compiled = made.compiled
        self.start = made.start
        self.precision = _precision(compiled, settings.precision)
        self.threads = int(compiled.get_property("INFERENCE_NUM_THREADS"))
        best = int(compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"))
        self.requests = settings.requests or best
        self._requests = [compiled.create_infer_request() for _ in range(self.requests)]
        self.inputs = tuple(map(_tensor_info, compiled.inputs))
        self.outputs = tuple(map(_tensor_info, compiled.outputs))
        self.executed = [(0, 0)] * self.requests
        self._kept = made.kept  # its weights may lie there; the last to go

    def infer(self, request: int, batch: NDArray[Any]) -> list[NDArray[Any]]:
        """Run one batch, straight from the memory of `batch`."""
        running = self._requests[request]
        try:
            running.set_input_tensor(self._tensor(batch, shared_memory=True))
            started = time.perf_counter_ns()
            running.infer(share_outputs=True)
            self.executed[request] = (started, time.perf_counter_ns())
        except RuntimeError as error:
            raise failure(self.engine, "to run the model", error) from error
        # A request writes into the same memory next time.
        return [np.array(running.get_output_tensor(i).data) for i in range(len(self.outputs))]

    def cancel(self) -> None:
        """Stop running calls at their next layer."""
        for running in self._requests:
            running.cancel()


class _Making:
    """How a compiled model comes about: from the cache, or compiled and then kept there.

    `kept` is the memory that a model from the cache lies in.
    """

    def __init__(self, core: Any, model: ModelFile, settings: Settings) -> None:
        self.start = "compiled"
        self.kept: memoryview | None = None
        self._core, self._model, self._settings = core, model, settings
        self._config: dict[str, Any] = {
            # Left alone, OpenVINO silently takes bf16 or f16 where the processor has it.
            "INFERENCE_PRECISION_HINT": _HINTS[settings.precision],
            "PERFORMANCE_HINT": "LATENCY" if settings.requests == 1 else "THROUGHPUT",
            "INFERENCE_NUM_THREADS": usable_threads(settings),
        }
        if settings.cache is None or not model.content:
            self.compiled = self._compile()
            return
        name = self._name()
        self.compiled = self._recall(settings.cache, name)
        if self.compiled is None:
            self.compiled = self._compile()
            self._keep(settings.cache, name)

    def _compile(self) -> Any:
        import openvino

        model = self._model
        if model.kind == ONNX:
            # By name of the format: OpenVINO itself goes by the file's extension.
            frontend = openvino.frontend.FrontEndManager().load_by_framework("onnx")
            network = frontend.convert(frontend.load(str(model.path)))
        else:
            network = self._core.read_model(model.path, model.companions[0])
        _fix_batch(network, self._settings.batch_size)
        return self._core.compile_model(network, "CPU", self._config)

    def _name(self) -> str:
        """Return the name of the entry: all that the compiled model depends on goes in."""
        import openvino

        facts = {
            "model": self._model.content,
            "batch_size": self._settings.batch_size,
            "config": self._config,
            "openvino": openvino.get_version(),
            "processor": machine.processor(),
            "capabilities": sorted(self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")),
        }
        return cache.name_of(facts)

    def _recall(self, kept: cache.Cache, name: str) -> Any:
        import openvino

        found = kept.find(name)
        if found is None:
            return None
        blob = openvino.Tensor(np.frombuffer(found, np.uint8), shared_memory=True)
        try:
            compiled = self._core.import_model(blob, "CPU", self._config)
        except RuntimeError:  # OpenVINO judges anew whether it can; what it cannot, it compiles
            return None
        self.start, self.kept = "from the cache", found
        return compiled

    def _keep(self, kept: cache.Cache, name: str) -> None:
        """Keep the compiled model unless its files have changed while it was made."""
        if model_file.content_of(self._model) != self._model.content:
            self.start = "compiled, not cached (the model was changed meanwhile)"
            return
        refused = kept.keep(name, self.compiled.export_model().getvalue())
        self.start = f"compiled, not cached ({refused})" if refused else "compiled, then cached"


def _check_processor(core: Any, precision: str) -> None:
    """Raise PipelineError where the processor lacks a precision."""
    found = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if _CAPABILITIES[precision] not in found:
        has = [name for name, word in _CAPABILITIES.items() if word in found]
        raise PipelineError(
            f"this processor has no {precision} ({machine.processor()})",
            f"it has {', '.join(has)}",
        )


def _precision(compiled: Any, wanted: str) -> str:
    """Return the precision in force, read back from the compiled model."""
    if wanted == INT8:
        layers = (layer.get_rt_info() for layer in compiled.get_runtime_model().get_ops())
        types = {
            info["runtimePrecision"].astype(str)
            for info in layers
            if info["layerType"].astype(str) in _WEIGHTED
        }
        if types & _INT8_TYPES:
            return INT8
    hint = str(compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name())
    return _NAMES.get(hint, hint)


def _fix_batch(network: Any, batch_size: int) -> None:
    """Give the one input a fixed batch; what cannot be fixed is refused by `engines.load`."""
    if len(network.inputs) != 1:
        return
    shape = network.inputs[0].get_partial_shape()
    if shape.rank.is_static and len(shape) and shape[0].is_dynamic:
        shape[0] = batch_size
        network.reshape(shape)


def _tensor_info(port: Any) -> TensorInfo:
    name = port.get_any_name() if port.get_names() else str(port.index)
    shape = port.get_partial_shape()
    sizes = tuple(d.get_length() if d.is_static else None for d in shape)
    try:
        dtype = np.dtype(port.get_element_type().to_dtype())
    except (RuntimeError, TypeError) as error:
        raise PipelineError(
            f"the model's {name!r} is of the type {port.get_element_type().get_type_name()}",
            "only tensors of numbers that NumPy knows are taken",
        ) from error
    return TensorInfo(name, sizes, dtype)


def _open(model: ModelFile, settings: Settings) -> Session:
    try:
        return OpenVinoSession(model, settings)
    except (PipelineError, ImportError):
        raise
    except Exception as error:  # those of its front ends have no base class but this
        raise failure("openvino", f"to load {model.path}", error) from error


ENGINE = Engine(
    name="openvino",
    package="openvino",
    rank=2,
    kinds=frozenset({ONNX, IR}),
    precisions=("fp32", "bf16", INT8),
    open_session=_open,
)
