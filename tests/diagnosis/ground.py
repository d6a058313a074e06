"""What faults are planted in: pictures of many kinds, a checkpoint, models, right results."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from PIL import Image

from tests.images import photo
from tests.models import save_classifier

ARCH = "vovnet27_slim"
SIZES = (
    *(
        (500, 375),
        (375, 500),
        (640, 427),
        (333, 500),
        (480, 481),
        (400, 400),
        (427, 641),
        (350, 469),
    ),
    *(
        (300, 251),
        (257, 331),
        (180, 240),
        (500, 334),
        (401, 600),
        (366, 366),
        (250, 190),
        (355, 473),
    ),
)
ODD = ("exif", "exif again", "cmyk", "grey", "alpha", "palette")
MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)

Transform = Callable[[Path], NDArray[Any]]


def encode(kind: str, number: int) -> bytes:
    """Return an odd picture's file."""
    image = photo(420 + number, 330, seed=100 + number)
    buffer = io.BytesIO()
    if kind.startswith("exif"):
        exif = Image.Exif()
        exif[0x0112] = 6
        image.save(buffer, "JPEG", quality=90, exif=exif.tobytes())
    elif kind == "alpha":
        image.putalpha(Image.linear_gradient("L").resize(image.size))
        image.save(buffer, "PNG")
    elif kind == "palette":
        image.quantize(64).save(buffer, "PNG")
    else:
        image.convert({"cmyk": "CMYK", "grey": "L"}[kind]).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


@dataclass
class Ground:
    """A folder with everything; what takes long is made once, when it is first asked for."""

    folder: Path
    made: dict[str, Path] = field(default_factory=dict)

    @cached_property
    def images(self) -> Path:
        """The folder of the images, whose names sort otherwise by their numbers than as words."""
        folder = self.folder / "images"
        folder.mkdir()
        for number, (width, height) in enumerate(SIZES, 1):
            image = photo(width, height, seed=number)
            image.save(folder / f"img{number}.JPEG", quality=92, subsampling=number % 3)
        for number, kind in enumerate(ODD, len(SIZES) + 1):
            (folder / f"img{number}.JPEG").write_bytes(encode(kind, number))
        return folder

    @cached_property
    def paths(self) -> Sequence[Path]:
        """The images, sorted by name."""
        return sorted(self.images.iterdir())

    @cached_property
    def names(self) -> Sequence[str]:
        """Their names before the dot."""
        return [path.stem for path in self.paths]

    def bins(self, name: str, transform: Transform, *, dtype: str = "<f4") -> Path:
        """Write what `transform` makes of each image as it stands; return the folder."""
        folder = self.folder / name
        if folder.exists():
            return folder
        folder.mkdir()
        for path in self.paths:
            values = np.ascontiguousarray(transform(path)).astype(dtype)
            values.tofile(folder / f"{path.stem}.bin")
        return folder

    @cached_property
    def right_bins(self) -> Path:
        """The .bin files as torchvision makes them."""
        return self.bins("right_bins", torchvision_transform())

    @cached_property
    def classifier(self) -> Path:
        """A small model of 1000 classes."""
        return save_classifier(self.folder / "classifier.onnx")

    def answers(self, model: Path, bins: Path) -> NDArray[np.float32]:
        """Return the model's answers to the .bin files, by ONNX Runtime, in the images' order."""
        session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        rows = []
        for name in self.names:
            values = np.fromfile(bins / f"{name}.bin", np.float32).reshape(1, 3, 224, 224)
            rows.append(session.run(None, {"image": values})[0][0])
        return np.stack(rows)

    @cached_property
    def logits(self) -> NDArray[np.float32]:
        """The classifier's answers to the right files."""
        return self.answers(self.classifier, self.right_bins)

    def dumps(
        self, name: str, rows: NDArray[Any], form: str = "txt", names: Sequence[str] | None = None
    ) -> Path:
        """Write rows as dumps of the images; `form` is txt, bin or a printf format."""
        folder = self.folder / name
        folder.mkdir()
        for image, row in zip(names or self.names, rows, strict=True):
            if form == "bin":
                row.tofile(folder / f"{image}_1.bin")
            else:
                word = "%.9g" if form == "txt" else form
                text = " ".join(word % value for value in row) + " \n"
                (folder / f"{image}_1.txt").write_text(text)
        return folder

    @cached_property
    def right_dumps(self) -> Path:
        """The classifier's answers as dumps."""
        return self.dumps("right_dumps", self.logits)

    @cached_property
    def labels(self) -> dict[str, int]:
        """Labels that the classifier is right about for most images, two images to a class."""
        found = self.logits.argmax(axis=1)
        labels = dict(zip(self.names, found.tolist(), strict=True))
        for name in self.names[::8]:
            labels[name] = (labels[name] + 500) % 999
        return labels

    def label_file(self, name: str, labels: dict[str, int]) -> Path:
        """Write a label file."""
        path = self.folder / f"{name}.txt"
        path.write_text("".join(f"{image}.JPEG {label}\n" for image, label in labels.items()))
        return path


def torchvision_transform(**changes: Any) -> Transform:
    """Return the guide's transform, with other steps by their names where given."""
    from torchvision import transforms

    steps = {
        "resize": transforms.Resize(256),
        "crop": transforms.CenterCrop(224),
        "tensor": transforms.ToTensor(),
        "normalise": transforms.Normalize(MEAN.tolist(), STD.tolist()),
    } | changes
    chain = transforms.Compose([step for step in steps.values() if step is not None])

    def transform(path: Path) -> NDArray[Any]:
        with Image.open(path) as image:
            return np.asarray(chain(image.convert("RGB")))

    return transform


def normalised(pixels: NDArray[Any]) -> NDArray[np.float32]:
    """Return uint8 pixels (224, 224, 3) as they should be: float32 (3, 224, 224)."""
    values = (pixels.astype(np.float32) / 255 - MEAN) / STD
    return np.asarray(values.transpose(2, 0, 1), np.float32)


def cropped(image: Image.Image, filter_name: int = 2, size: int = 256) -> NDArray[np.uint8]:
    """Return the resized centre crop by Pillow, as a script would write it."""
    width, height = image.size
    if width <= height:
        new = (size, int(size * height / width))
    else:
        new = (int(size * width / height), size)
    image = image.resize(new, Image.Resampling(filter_name))
    left, top = round((new[0] - 224) / 2), round((new[1] - 224) / 2)
    return np.asarray(image.crop((left, top, left + 224, top + 224)))


def rgb(path: Path) -> Image.Image:
    """Return the picture as the guide decodes it."""
    with Image.open(path) as image:
        return image.convert("RGB")
