"""ONNX Runtime, the reference engine: fp32 or int8 as the model has it, one call at a time."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.engines import INT8, Engine, Session, Settings, TensorInfo, failure, usable_threads
from pipeline.engines.model_file import ONNX, ModelFile
from pipeline.errors import PipelineError

# The element types of ONNX Runtime's Python interface that NumPy has as well.
_DTYPES = {
    "float": "float32",
    "double": "float64",
    **{name: name for name in ("float16", "int8", "int16", "int32", "int64", "bool")},
    **{name: name for name in ("uint8", "uint16", "uint32", "uint64")},
}
_SILENT = 4  # its own lines on stderr would stand beside our one


class OnnxRuntimeSession:
    """A model in ONNX Runtime on the processor; see `pipeline.engines.Session`.

    ONNX Runtime hands inputs over and copies outputs inside its one call, so `executed` covers
    them. One request: two sessions of half the threads gain nothing in fp32. Nothing is cached: to
    load a graph that was saved optimised is quicker by less than digesting the model takes.
    """

    engine = "onnxruntime"
    requests = 1
    start = "optimised"

    def __init__(self, model: ModelFile, settings: Settings) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = _SILENT
        options.intra_op_num_threads = self.threads = usable_threads(settings)
        options.inter_op_num_threads = 1
        # By name of the format: ONNX Runtime itself goes by the file's extension.
        options.add_session_config_entry("session.load_model_format", "ONNX")
        if model.batch_name:
            options.add_free_dimension_override_by_name(model.batch_name, settings.batch_size)
        self._session = onnxruntime.InferenceSession(
            model.path,
            options,
            providers=["CPUExecutionProvider"],
            enable_fallback=0,  # to the same provider, after some lines on stdout
        )
        self.precision = settings.precision  # the model's own; it has no other to offer
        self._run_options = onnxruntime.RunOptions()
        self._run_options.log_severity_level = _SILENT
        self.version: str = onnxruntime.__version__
        self.inputs = tuple(map(_tensor_info, self._session.get_inputs()))
        self.outputs = tuple(map(_tensor_info, self._session.get_outputs()))
        self.executed = [(0, 0)]

    def infer(self, request: int, batch: NDArray[Any]) -> list[NDArray[Any]]:
        """Run one batch."""
        feed = {self.inputs[0].name: batch}
        started = time.perf_counter_ns()
        try:
            outputs = self._session.run(None, feed, self._run_options)
        except Exception as error:  # ONNX Runtime has no base class for its own
            raise failure(self.engine, "to run the model", error) from error
        self.executed[request] = (started, time.perf_counter_ns())
        return [np.asarray(output) for output in outputs]

    def cancel(self) -> None:
        """Stop running calls at their next layer."""
        self._run_options.terminate = True


def _tensor_info(node: Any) -> TensorInfo:
    element = node.type.removeprefix("tensor(").removesuffix(")")
    if element not in _DTYPES:
        raise PipelineError(
            f"the model's {node.name!r} is of the type {node.type}",
            "only tensors of numbers that NumPy knows are taken",
        )
    shape = tuple(size if isinstance(size, int) else None for size in node.shape)
    return TensorInfo(node.name, shape, np.dtype(_DTYPES[element]))


def _open(model: ModelFile, settings: Settings) -> Session:
    try:
        return OnnxRuntimeSession(model, settings)
    except (PipelineError, ImportError):
        raise
    except Exception as error:
        raise failure("onnxruntime", f"to load {model.path}", error) from error


ENGINE = Engine(
    name="onnxruntime",
    package="onnxruntime",
    rank=1,
    kinds=frozenset({ONNX}),
    precisions=("fp32", INT8),
    open_session=_open,
)
