"""OpenVINO used directly, with its hint for latency (one request) or throughput (several)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.engines import Models, Unavailable, Wish

PACKAGES = ("openvino",)
LATENCY, THROUGHPUT = "latency", "throughput"
# The kinds that count: the int8 file has its own precision in it and runs the rest in fp32.
_TYPES = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}


class OpenVinoOpened:
    """See `benchmarks.peers.engines.Opened`."""

    def __init__(self, models: Models, wish: Wish) -> None:
        import openvino

        core = openvino.Core()
        if wish.precision == "bf16" and "BF16" not in core.get_property(
            "CPU", "OPTIMIZATION_CAPABILITIES"
        ):
            raise Unavailable("the processor has no bf16, says OpenVINO")
        network = core.read_model(models.int8 if wish.precision == "int8" else models.onnx)
        network.reshape([wish.batch, 3, 224, 224])
        settings = {
            "INFERENCE_PRECISION_HINT": _TYPES[wish.precision],
            "PERFORMANCE_HINT": wish.option.upper(),
            "INFERENCE_NUM_THREADS": wish.threads,
        }
        compiled = core.compile_model(network, "CPU", settings)
        best = compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")
        self.streams = int(best) if wish.option == THROUGHPUT else 1
        self._requests = [compiled.create_infer_request() for _ in range(self.streams)]
        self.version: str = openvino.get_version().split("-")[0]

    def infer(self, stream: int, batch: NDArray[Any]) -> NDArray[Any]:
        """Return the logits."""
        outputs = self._requests[stream].infer([batch], share_inputs=True)
        logits: NDArray[Any] = np.asarray(outputs[0])
        return logits


def open_model(models: Models, wish: Wish) -> OpenVinoOpened:
    """Open the model; Unavailable where the processor lacks bf16."""
    return OpenVinoOpened(models, wish)
