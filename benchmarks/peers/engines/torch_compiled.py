"""PyTorch compiled for this processor: `torch.compile` (Inductor) with frozen weights.

It writes C++ and needs a compiler; each batch size is compiled anew.
"""

from __future__ import annotations

import os
import shutil

import numpy as np

from benchmarks.peers.engines import Models, Unavailable, Wish
from benchmarks.peers.engines.torch_eager import TorchOpened, network

PACKAGES = ("torch",)


def open_model(models: Models, wish: Wish) -> TorchOpened:
    """Compile the model for one batch size; Unavailable where there is no C++ compiler."""
    if not any(map(shutil.which, (os.environ.get("CXX") or "c++", "g++", "clang++"))):
        raise Unavailable("torch.compile needs a C++ compiler, and there is none")
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(models.folder / "inductor")
    import torch
    from torch._inductor import config

    config.freezing = True
    made = torch.compile(network(models, wish), dynamic=False)
    opened = TorchOpened(made, wish)
    opened.infer(0, np.zeros((wish.batch, 3, 224, 224), np.float32))
    return opened
