"""ncnn, whose 3x3 convolutions are Winograd's. It has no batches: the pictures go one by one."""

from __future__ import annotations

import importlib
import subprocess
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.engines import Models, Wish

PACKAGES = ("ncnn", "pnnx", "torch")
_INPUT, _OUTPUT = "in0", "out0"  # the names that pnnx gives


def convert(models: Models) -> None:
    """Make ncnn's files from the checkpoint, through TorchScript and pnnx, weights in fp32."""
    import torch

    from models_vovnet import checkpoint

    pnnx: Any = importlib.import_module("pnnx")
    network = checkpoint.load(models.checkpoint, models.arch).network()
    script = models.folder / "network.pt"
    with torch.inference_mode():
        torch.jit.trace(network, torch.zeros(1, 3, 224, 224), check_trace=False).save(str(script))
    subprocess.run(
        [pnnx.EXEC_PATH, script.name, "inputshape=[1,3,224,224]", "fp16=0"],
        cwd=models.folder,
        check=True,
        stdout=subprocess.DEVNULL,
    )


class NcnnOpened:
    """See `benchmarks.peers.engines.Opened`."""

    streams = 1

    def __init__(self, models: Models, wish: Wish) -> None:
        ncnn: Any = importlib.import_module("ncnn")
        self._ncnn = ncnn
        self._net = ncnn.Net()
        self._net.opt.num_threads = wish.threads
        half = ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic", "use_bf16_packed")
        for name in (*half, "use_bf16_storage"):
            setattr(self._net.opt, name, wish.precision == "bf16" and "bf16" in name)
        files = (models.folder / "network.ncnn.param", models.folder / "network.ncnn.bin")
        if self._net.load_param(str(files[0])) or self._net.load_model(str(files[1])):
            raise RuntimeError("ncnn does not load the files that pnnx wrote")
        self.version: str = ncnn.__version__

    def infer(self, stream: int, batch: NDArray[Any]) -> NDArray[Any]:
        """Return the logits."""
        return np.stack([self._one(picture) for picture in batch])

    def _one(self, picture: NDArray[Any]) -> NDArray[Any]:
        extractor = self._net.create_extractor()
        extractor.input(_INPUT, self._ncnn.Mat(picture))
        code, logits = extractor.extract(_OUTPUT)
        if code:
            raise RuntimeError(f"ncnn failed to run the model ({code})")
        return np.array(logits)


def open_model(models: Models, wish: Wish) -> NcnnOpened:
    """Open the model."""
    return NcnnOpened(models, wish)
