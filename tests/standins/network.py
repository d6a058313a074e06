"""A stand-in om, ready to execute: with ONNX Runtime on the processor, one thread."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from tests.standins import aipp, card, faults, om

_SILENT = 4


class Network:
    """The model behind an om file; `inputs` and `outputs` as its user sees them."""

    def __init__(self, path: Path) -> None:
        self.description, model = om.read(path)
        if self.description.soc_version != card.soc_version():
            raise om.OmError(
                f"{path} was built for {self.description.soc_version}, "
                f"and the card is {card.soc_version()}"
            )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = _SILENT
        self._session = onnxruntime.InferenceSession(
            model, options, providers=["CPUExecutionProvider"]
        )
        self._takes = {
            node.name: np.dtype(node.type[7:-1].replace("float16", "f2").replace("float", "f4"))
            for node in self._session.get_inputs()
        }
        self.inputs = self.description.inputs
        self.outputs = self.description.outputs
        if faults.is_active("wrong_outputs"):
            last = self.outputs[-1]
            self.outputs += (om.Tensor(f"{last.name}_again", last.dtype, last.shape),)
        self.batch = self.description.batch

    def execute(self, feeds: Sequence[bytes | memoryview]) -> list[NDArray[Any]]:
        """Run one batch of raw inputs, of just the sizes that `inputs` have."""
        results = self._session.run(None, self.arrays(feeds))
        if faults.is_active("wrong_outputs"):
            results.append(results[-1])
        return [
            np.asarray(result).astype(tensor.dtype, copy=False)
            for result, tensor in zip(results, self.outputs, strict=True)
        ]

    def arrays(self, feeds: Sequence[bytes | memoryview]) -> dict[str, NDArray[Any]]:
        """Return what the graph is fed for raw inputs: AIPP and half precision are undone here."""
        fed: dict[str, NDArray[Any]] = {}
        for rank, (data, tensor) in enumerate(zip(feeds, self.inputs, strict=True)):
            array: NDArray[Any] = np.frombuffer(data, tensor.dtype).reshape(tensor.shape)
            fields = self.description.aipp
            if fields is not None and fields.get("related_input_rank", 0) == rank:
                array = aipp.apply(fields, array)
            fed[tensor.name] = array.astype(self._takes[tensor.name], copy=False)
        return fed
