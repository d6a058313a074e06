"""Checkpoint files of the VoVNet family: read without running code, checked key by key.

Three kinds are taken: a plain state dict, one whose keys carry the prefix `module.` (as
`torch.nn.DataParallel` writes it and the published file has it), and a training checkpoint that
holds either under `state_dict`, `model_state_dict` or `model`.
"""

from __future__ import annotations

import itertools
import reprlib
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from models_vovnet import container, published
from models_vovnet.family import ARCHS
from models_vovnet.vovnet import VoVNet, build
from pipeline import identity
from pipeline.errors import PipelineError

PREFIX = "module."
TRAINING_KEYS = ("state_dict", "model_state_dict", "model")
# Batch norm's count of training steps: old files lack it, and inference never reads it.
COUNTER = ".num_batches_tracked"
SHOWN = 5  # bad keys named in the one line of an error
MOST_SHOWN = 100  # characters of a key that the network does not have
MOST_CLASSES = 1_000_000
DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)

# How files that are often given by mistake begin; a checkpoint is a zip archive or a pickle.
_OTHER_FORMATS = (
    (b"\x1f\x8b", "is compressed with gzip", "unpack it first"),
    (b"\x89HDF", "is an HDF5 file", ""),
    (b"\xff\xd8\xff", "is a JPEG picture", ""),
    (b"\x89PNG", "is a PNG picture", ""),
    (b"\x93NUMPY", "is a NumPy array", ""),
    (b"<", "is a web page or XML", "fetch the file itself"),
)
_GIVE_CHECKPOINT = "give a checkpoint as torch.save writes it (.pth)"
_AGAIN = container.AGAIN


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint whose keys, shapes and values are those of `arch`.

    `state_dict` has the network's own keys without prefix, complete, as float32 on the CPU;
    `kind` says how the file held it; `md5` is that of the file.
    """

    path: Path
    arch: str
    classes: int
    md5: str
    kind: str
    state_dict: dict[str, Tensor]

    @property
    def is_published(self) -> bool:
        """Whether this is the published file, byte for byte."""
        return self.md5 == published.WEIGHTS_MD5

    @property
    def provenance(self) -> str:
        """Say in words whether this is the published file."""
        if self.is_published:
            return f"the published checkpoint (md5 {self.md5})"
        return f"not the published checkpoint (md5 {self.md5})"

    def network(self) -> VoVNet:
        """Return a network with its own copy of these weights, in inference mode."""
        with torch.device("meta"):
            network = build(self.arch, self.classes)
        copies = {key: value.clone() for key, value in self.state_dict.items()}
        network.load_state_dict(copies, assign=True)
        return network.eval().requires_grad_(False)


def load(path: Path, arch: str = "vovnet39") -> Checkpoint:
    """Return the checkpoint in the file `path`; `arch` is a key of `ARCHS`.

    The number of classes is that of the classifier. Raises PipelineError where the file is no
    checkpoint, is damaged, holds anything but tensors and plain values, or where keys, shapes or
    values are not those of the network; it then names the keys.
    """
    content = _read(path)
    state, kind = _find_state_dict(content, path)
    classes = _count_classes(state)
    _check_keys(state, arch, classes, path)
    complete = {
        key: torch.zeros((), dtype=torch.int64)
        if key.endswith(COUNTER)
        else _as_float32(key, state[key], path)
        for key in _shapes(arch, classes)
    }
    return Checkpoint(path, arch, classes, identity.file_digest(path, "md5"), kind, complete)


def _read(path: Path) -> Any:
    """Return what the file holds; tensors and plain values only."""
    _check_format(path)
    try:
        with warnings.catch_warnings():
            # An unusual pickle protocol is no concern of the user's: it loads or it doesn't.
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # A damaged pickle raises whatever its broken instructions lead to.
        raise PipelineError(
            f"{path}: damaged or not a PyTorch checkpoint ({_reason(error)})", _AGAIN
        ) from error


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__


def _check_format(path: Path) -> None:
    """Refuse what is no checkpoint by its first bytes, and what torch must not be handed."""
    if path.is_dir():
        raise PipelineError(f"{path}: is a folder", _GIVE_CHECKPOINT)
    with path.open("rb") as file:
        head = file.read(64)
    if not head:
        raise PipelineError(f"{path}: is empty", _AGAIN)
    for start, what, hint in _OTHER_FORMATS:
        if head.startswith(start):
            raise PipelineError(f"{path}: {what}, not a checkpoint", hint or _GIVE_CHECKPOINT)
    if head[8:9] == b"{":
        raise PipelineError(f"{path}: is a safetensors file, not a checkpoint", _GIVE_CHECKPOINT)
    if head[0] == 8 and head[2:3] == b"\x12":  # ir_version, then producer_name
        raise PipelineError(f"{path}: is an ONNX model, not a checkpoint", _GIVE_CHECKPOINT)
    if head.startswith(b"PK"):
        container.check_archive(path)
    elif head.startswith(b"\x80"):
        container.check_pickles(path)
    else:
        raise PipelineError(f"{path}: is not a PyTorch checkpoint", _GIVE_CHECKPOINT)


def _find_state_dict(content: Any, path: Path) -> tuple[dict[str, Tensor], str]:
    """Return the state dict without prefix, and how the file held it."""
    kind = "state dict"
    # A file can give an object attributes, and so methods of its own; only the type's are called.
    if isinstance(content, dict):
        for key in TRAINING_KEYS:
            if isinstance(inner := dict.get(content, key), dict):
                content, kind = inner, f"training checkpoint ({key})"
                break
    if not isinstance(content, dict) or not content:
        raise PipelineError(
            f"{path}: holds {_describe(content)} where a state dict belongs",
            "save it with torch.save(model.state_dict(), ...)",
        )
    state: dict[str, Tensor] = {}
    for key, value in dict.items(content):
        if not isinstance(key, str) or not isinstance(value, Tensor):
            where = f"{_describe(value)} under {reprlib.repr(key)}"
            raise PipelineError(
                f"{path}: holds {where} where a state dict has a tensor",
                "save it with torch.save(model.state_dict(), ...)",
            )
        state[key] = Tensor.detach(value)
    if all(key.startswith(PREFIX) for key in state):
        state = {key.removeprefix(PREFIX): value for key, value in state.items()}
        kind += f", prefix {PREFIX}"
    return state, kind


def _describe(value: Any) -> str:
    if isinstance(value, dict) and not value:
        return "an empty dictionary"
    if isinstance(value, dict):
        return f"a dictionary with {', '.join(map(reprlib.repr, itertools.islice(value, 3)))}"
    return f"a value of type {type(value).__name__}"


def _count_classes(state: Mapping[str, Tensor]) -> int:
    """Return the classifier's rows; where it is missing or odd, 1000, and the check names it."""
    weight = state.get("classifier.weight")
    if weight is None or weight.dim() != 2 or not 0 < weight.shape[0] <= MOST_CLASSES:
        return 1000
    return weight.shape[0]


@cache
def _shapes(arch: str, classes: int) -> dict[str, tuple[int, ...]]:
    """Return every key of the network with its shape, in order."""
    with torch.device("meta"):
        network = build(arch, classes)
    return {key: tuple(value.shape) for key, value in network.state_dict().items()}


def _check_keys(state: Mapping[str, Tensor], arch: str, classes: int, path: Path) -> None:
    """Raise PipelineError where a key is missing, unexpected or misshaped; name them all."""
    bad = list(_bad_keys(state, _shapes(arch, classes)))
    if not bad:
        return
    for other in ARCHS:
        if not any(_bad_keys(state, _shapes(other, classes))):
            raise PipelineError(
                f"{path}: is no {arch} but a {other}", f"say so with --arch {other}"
            )
    more = f" and {len(bad) - SHOWN} more (-v lists all)" if len(bad) > SHOWN else ""
    raise PipelineError(
        f"{path}: {len(bad)} keys do not fit {arch}: {', '.join(bad[:SHOWN])}{more}",
        f"give a checkpoint of {', '.join(ARCHS)} under the published key names",
    ) from ValueError("keys that do not fit:\n" + "\n".join(bad))


def _bad_keys(state: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]]) -> Iterator[str]:
    for key, shape in shapes.items():
        if key.endswith(COUNTER):
            continue
        if key not in state:
            yield f"missing {key}"
        elif tuple(state[key].shape) != shape:
            yield f"misshaped {key} ({_times(state[key].shape)}, not {_times(shape)})"
    for key in state:
        if key not in shapes:
            yield f"unexpected {key[:MOST_SHOWN]}"


def _times(shape: tuple[int, ...]) -> str:
    return "x".join(str(size) for size in shape) or "scalar"


def _as_float32(key: str, value: Tensor, path: Path) -> Tensor:
    """Return a weight as float32; refuse what cannot be computed with."""
    if value.layout is not torch.strided or value.device.type != "cpu" or value.is_quantized:
        raise PipelineError(f"{path}: {key} is no plain tensor", "save the weights as float32")
    if value.numel() * value.element_size() > value.untyped_storage().nbytes():
        raise PipelineError(
            f"{path}: {key} is an expanded view, not stored whole", "save a copy of the weights"
        )
    if value.dtype not in DTYPES:
        raise PipelineError(f"{path}: {key} is {value.dtype}", "save the weights as float32")
    weight = value.to(torch.float32).contiguous()
    if not torch.isfinite(weight).all():
        count = int((~torch.isfinite(weight)).sum())
        raise PipelineError(
            f"{path}: {key} is NaN or infinite in {count} of {weight.numel()} values",
            "give a checkpoint from before the training went wrong",
        )
    if key.endswith(".running_var") and bool((weight < 0).any()):
        raise PipelineError(f"{path}: {key} holds a negative variance", _AGAIN)
    return weight
