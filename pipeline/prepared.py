"""Prepared pictures as a set: which of an info file's tensors to take, and whether they are fit.

A set that ranges or accuracies are taken from has to be of pictures. Each tensor is looked at once:

- *Constant*: every channel has one value throughout. It says nothing and is left out.
- *Copy*: the same bytes as one before it. It is left out.
- *Noise-like*: neighbours have little to do with each other, or nothing is left of the picture from
  afar. With x the picture less its channel means, v the mean of x^2, r the mean product of
  neighbours across and down over v, and s the mean of squares of the means of 8x8 fields over v:
  r < 0.5 or s < 0.15. Independent pixels have r = 0 and s = 1/64, also about r = 0.35 and s = 0.06
  after a resize that shrinks them, and s = 0.13 after one that doubles them. Photographs have
  r > 0.85 and s > 0.4, since their spectrum falls with the square of the frequency (Field,
  "Relations between the statistics of natural images and the response properties of cortical
  cells", J. Opt. Soc. Am. A 4, 1987). A picture of nothing but fine texture may look like noise,
  so it is the set that is judged: at most a quarter may.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline import chain, identity, progress
from pipeline.chain import Listing
from pipeline.errors import PipelineError

if TYPE_CHECKING:
    from pipeline.engines import TensorInfo
    from pipeline.formats.info import InfoLine

LEAST_NEIGHBOURS = 0.5
LEAST_FROM_AFAR = 0.15
FIELD = 8  # pixels
MOST_NOISE_LIKE = 0.25  # of a set


@dataclass(frozen=True)
class Layout:
    """One sample as a model takes it: `(3, H, W)` or `(H, W, 3)`, C-contiguous."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def size(self) -> int:
        """Bytes of one sample."""
        return int(np.prod(self.shape)) * self.dtype.itemsize

    @property
    def channels_last(self) -> bool:
        """Say whether the shape is `(H, W, channels)`."""
        return self.shape[0] not in (1, 3)


@dataclass(frozen=True)
class Picture:
    """A prepared picture; `name` is that of its file before the first dot, as labels have it."""

    path: Path
    sha256: str
    noise_like: bool

    @property
    def name(self) -> str:
        """The name that label files know it by."""
        return name_of(self.path)


@dataclass
class Selection:
    """The pictures that were taken, and how many were not, by the reason."""

    pictures: list[Picture] = field(default_factory=list)
    copies: int = 0
    constant: int = 0
    known: int = 0  # they are in the other set

    @property
    def noise_like(self) -> int:
        """Number of pictures that look like noise."""
        return sum(picture.noise_like for picture in self.pictures)

    @property
    def digest(self) -> str:
        """SHA-256 over the sorted digests of the pictures: the set's own, whatever its order."""
        joined = "".join(sorted(picture.sha256 for picture in self.pictures))
        return hashlib.sha256(joined.encode()).hexdigest()

    def left_out(self) -> str:
        """Say what was left out, or return an empty string."""
        reasons = (
            (self.copies, "copies of others"),
            (self.constant, "of one colour throughout"),
            (self.known, "in the calibration set"),
        )
        return ", ".join(f"{count} {reason}" for count, reason in reasons if count)

    def counts(self) -> dict[str, int]:
        """Return the counts for a record."""
        return {
            "pictures": len(self.pictures),
            "copies_left_out": self.copies,
            "constant_left_out": self.constant,
            "known_left_out": self.known,
            "noise_like": self.noise_like,
        }


def layout_of(info: TensorInfo) -> Layout:
    """Return the layout of one sample of a model's input.

    Raises PipelineError where the input is no batch of pictures.
    """
    shape = tuple(size for size in info.shape[1:] if size is not None)
    if len(info.shape) != 4 or len(shape) != 3 or not {shape[0], shape[2]} & {1, 3}:
        sizes = "x".join("?" if size is None else str(size) for size in info.shape)
        raise PipelineError(
            f"the input {info.name!r} of the model has the shape {sizes or '(none)'}",
            "batches of pictures are taken, (N,3,H,W) or (N,H,W,3)",
        )
    return Layout(shape, info.dtype)


def select(
    lines: Sequence[InfoLine],
    layout: Layout,
    wanted: int,
    known: Collection[Picture] = (),
    title: str = "looking at the pictures",
) -> Selection:
    """Take up to `wanted` different pictures, spread evenly over `lines`.

    Those with the content of one in `known` are left out; a name may be another picture's as well.
    Raises PipelineError where a file is missing, has another size than the model's input, or holds
    NaN or infinity.
    """
    chosen = Selection()
    seen: set[str] = set()
    in_known = {picture.sha256 for picture in known}
    with progress.track(title, min(wanted, len(lines)), "pictures") as done:
        for place in spread(len(lines)):
            if len(chosen.pictures) == wanted:
                break
            path = Path(lines[place].path)
            data = read(path, layout)
            digest = hashlib.sha256(data.tobytes()).hexdigest()
            if digest in in_known:
                chosen.known += 1
            elif digest in seen:
                chosen.copies += 1
            elif is_constant(data, layout):
                chosen.constant += 1
            else:
                chosen.pictures.append(Picture(path, digest, is_noise_like(data, layout)))
            seen.add(digest)
            done(len(chosen.pictures))
    return chosen


def calibrated_on(source: Path, candidate: Path | None) -> Collection[Picture]:
    """Return the pictures that an int8 model got its ranges from, as its record has them.

    PipelineError where it was made of another model than `source`.
    """
    model = chain.file(candidate or source)
    made = model.made
    if made is None or made["stage"] != chain.QUANTIZE:
        return ()
    whence = chain.field(made, str, "inputs", 0, "sha256")
    if candidate and model.verified and whence != identity.file_digest(source):
        raise PipelineError(
            f"{candidate} was made of another model than {source}",
            "give the fp32 model that it was made of",
        )
    pictures = chain.field(made, list, "details", "calibration", "pictures") or []
    known = [(chain.field(p, str, "name"), chain.field(p, str, "sha256")) for p in pictures]
    return [Picture(Path(name), digest, False) for name, digest in known if name and digest]


def standing(info: Path, lines: Sequence[InfoLine], layout: Layout) -> Listing:
    """Say how an info file and the tensors that it lists stand; PipelineError as `chain` has it."""
    needs = {"dtype": layout.dtype.name, "shape": list(layout.shape)}
    return chain.listing(info, sorted({Path(line.path).parent for line in lines}), needs)


def refuse_noise(chosen: Selection, where: Path) -> None:
    """Raise PipelineError where more than a quarter of the set looks like noise."""
    if chosen.noise_like > MOST_NOISE_LIKE * len(chosen.pictures):
        raise PipelineError(
            f"{where}: {chosen.noise_like} of {len(chosen.pictures)} tensors look like noise and "
            "not like pictures",
            "give real pictures, prepared by vovnet_torch_preprocess.py",
        )


def spread(count: int) -> Iterator[int]:
    """Yield each of `0..count-1` once, so that every beginning of them is spread evenly.

    The order is that of the numbers' bits read backwards (van der Corput's sequence).
    """
    bits = max(count - 1, 0).bit_length()
    for number in range(1 << bits):
        turned = int(f"{number:0{bits}b}"[::-1], 2) if bits else 0
        if turned < count:
            yield turned


def name_of(path: Path) -> str:
    """Return the file's name before its first dot, by which label files know the picture."""
    return path.name.split(".", 1)[0]


def read(path: Path, layout: Layout) -> NDArray[Any]:
    """Return one prepared picture, of the layout's shape and dtype; see `select`."""
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise PipelineError(
            f"{path}: no such file",
            "the paths of an info file count from the current folder; make it anew from here",
        ) from error
    if len(data) != layout.size:
        shape = "x".join(map(str, layout.shape))
        raise PipelineError(
            f"{path} has {len(data):,} bytes where the model takes {layout.size:,} "
            f"({shape}, {layout.dtype})",
            "prepare the pictures as the model takes them",
        )
    values: NDArray[Any] = np.frombuffer(data, layout.dtype).reshape(layout.shape)
    if layout.dtype.kind == "f" and not np.isfinite(values).all():
        raise PipelineError(f"{path} holds NaN or infinity", "prepare this picture again")
    return values


def is_constant(values: NDArray[Any], layout: Layout) -> bool:
    """Say whether every channel has one value throughout."""
    planes = _planes(values, layout).reshape(_planes(values, layout).shape[0], -1)
    return bool((planes == planes[:, :1]).all())


def is_noise_like(values: NDArray[Any], layout: Layout) -> bool:
    """Say whether a picture that is not constant looks like noise; the rule is the module's."""
    planes = _planes(values, layout).astype(np.float32)
    x = planes - planes.mean(axis=(1, 2), keepdims=True)
    variance = float(np.square(x).mean())
    across, down = (x[:, :, 1:] * x[:, :, :-1]).mean(), (x[:, 1:] * x[:, :-1]).mean()
    neighbours = (float(across) + float(down)) / 2 / variance
    high, wide = x.shape[1] // FIELD, x.shape[2] // FIELD
    fields = x[:, : high * FIELD, : wide * FIELD].reshape(-1, high, FIELD, wide, FIELD)
    from_afar = float(np.square(fields.mean(axis=(2, 4))).mean()) / variance
    return neighbours < LEAST_NEIGHBOURS or from_afar < LEAST_FROM_AFAR


def _planes(values: NDArray[Any], layout: Layout) -> NDArray[Any]:
    """Return a view of shape `(channels, H, W)`."""
    return values.transpose(2, 0, 1) if layout.channels_last else values
