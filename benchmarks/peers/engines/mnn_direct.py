"""MNN, whose 3x3 convolutions are Winograd's.

The model is converted by the package's compiled module alone. The package's command for it,
`mnnconvert`, is never run: on its way it installs another package with whatever `pip` it finds,
and reports its use over the network.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.engines import Models, Unavailable, Wish

PACKAGES = ("MNN",)


def convert(models: Models) -> None:
    """Make MNN's file from the ONNX model."""
    tools: Any = importlib.import_module("_tools")  # the compiled half of the package
    target = models.folder / "network.mnn"
    words = ["", "-f", "ONNX", "--modelFile", str(models.onnx), "--MNNModel", str(target)]
    tools.mnnconvert([*words, "--bizCode", "benchmark"])
    if not target.exists():
        raise Unavailable("MNN did not convert the model")


class MnnOpened:
    """See `benchmarks.peers.engines.Opened`."""

    streams = 1

    def __init__(self, models: Models, wish: Wish) -> None:
        mnn: Any = importlib.import_module("MNN")
        self._expr = mnn.expr
        precision = {"fp32": "high", "bf16": "lowBF"}[wish.precision]
        settings = {"backend": "CPU", "precision": precision, "numThread": wish.threads}
        self._manager = mnn.nn.create_runtime_manager((settings,))
        self._net = mnn.nn.load_module_from_file(
            str(models.folder / "network.mnn"),
            ["image"],
            ["class"],
            runtime_manager=self._manager,
        )
        self.version: str = mnn.version()

    def infer(self, stream: int, batch: NDArray[Any]) -> NDArray[Any]:
        """Return the logits."""
        expr = self._expr
        given = expr.const(batch, list(batch.shape), expr.NCHW)
        made = self._net.forward([expr.convert(given, expr.NC4HW4)])
        logits = made[0] if isinstance(made, (list, tuple)) else made
        return np.array(expr.convert(logits, expr.NCHW).read(), np.float32)


def open_model(models: Models, wish: Wish) -> MnnOpened:
    """Open the model."""
    return MnnOpened(models, wish)
