"""PyTorch, layer by layer as the network was trained: fp32 or bf16, NCHW or channels last."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.engines import Models, Wish

PACKAGES = ("torch",)


class TorchOpened:
    """See `benchmarks.peers.engines.Opened`."""

    streams = 1

    def __init__(self, network: Any, wish: Wish) -> None:
        import torch

        self._torch = torch
        self._network = network
        self._type = torch.bfloat16 if wish.precision == "bf16" else torch.float32
        last = "channels_last" in wish.option
        self._format = torch.channels_last if last else torch.contiguous_format
        self.version: str = torch.__version__

    def infer(self, stream: int, batch: NDArray[Any]) -> NDArray[Any]:
        """Return the logits."""
        with self._torch.inference_mode():
            tensor = self._torch.from_numpy(batch)
            tensor = tensor.to(self._type, memory_format=self._format)
            logits: NDArray[np.float32] = self._network(tensor).float().numpy()
        return logits


def network(models: Models, wish: Wish) -> Any:
    """Return the network in evaluation mode, as `wish` has it, and set the number of threads."""
    import torch

    from models_vovnet import checkpoint

    torch.set_num_threads(wish.threads)
    made: Any = checkpoint.load(models.checkpoint, models.arch).network()
    if wish.precision == "bf16":
        made = made.bfloat16()
    if "channels_last" in wish.option:
        made = made.to(memory_format=torch.channels_last)
    return made


def open_model(models: Models, wish: Wish) -> TorchOpened:
    """Open the model."""
    return TorchOpened(network(models, wish), wish)
