"""ONNX Runtime: one session on all cores; for CPUs it has no bf16 convolutions."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from benchmarks.peers.engines import Models, Wish

PACKAGES = ("onnxruntime",)


class OnnxRuntimeOpened:
    """See `benchmarks.peers.engines.Opened`."""

    streams = 1

    def __init__(self, models: Models, wish: Wish) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = wish.threads
        path = models.int8 if wish.precision == "int8" else models.onnx
        self._session = onnxruntime.InferenceSession(
            path, options, providers=["CPUExecutionProvider"]
        )
        self._input = self._session.get_inputs()[0].name
        self.version: str = onnxruntime.__version__

    def infer(self, stream: int, batch: NDArray[Any]) -> NDArray[Any]:
        """Return the logits."""
        logits: NDArray[Any] = self._session.run(None, {self._input: batch})[0]
        return logits


def open_model(models: Models, wish: Wish) -> OnnxRuntimeOpened:
    """Open the model."""
    return OnnxRuntimeOpened(models, wish)
