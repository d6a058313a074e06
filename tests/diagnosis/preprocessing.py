"""Faults of the preprocessing, as other scripts make them."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torchvision import transforms
from torchvision.transforms import v2

from tests.diagnosis.fault import Fault, Plant
from tests.diagnosis.ground import (
    MEAN,
    STD,
    Ground,
    Transform,
    cropped,
    normalised,
    rgb,
    torchvision_transform,
)

Pixels = NDArray[Any]


def _made(key: str, transform: Transform, dtype: str = "<f4") -> Plant:
    def plant(ground: Ground) -> Sequence[object]:
        return ["--bins", ground.bins(key, transform, dtype=dtype)]

    return plant


def _tv(key: str, **changes: Any) -> Plant:
    return _made(key, torchvision_transform(**changes))


# Decoding.


def _exif(path: Path) -> Pixels:
    with Image.open(path) as image:
        return normalised(cropped(ImageOps.exif_transpose(image).convert("RGB")))


def _opencv_decoder(path: Path) -> Pixels:
    image = Image.fromarray(cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB))
    return normalised(cropped(image))


def _grey(path: Path) -> Pixels:
    with Image.open(path) as image:
        return normalised(cropped(image.convert("L").convert("RGB")))


def _recompressed(path: Path) -> Pixels:
    buffer = io.BytesIO()
    rgb(path).save(buffer, "JPEG", quality=75)
    return normalised(cropped(Image.open(buffer).convert("RGB")))


def _draft(path: Path) -> Pixels:
    with Image.open(path) as image:
        image.draft("RGB", ((image.width + 1) // 2, (image.height + 1) // 2))
        return normalised(cropped(image.convert("RGB")))


def _on_white(path: Path) -> Pixels:
    with Image.open(path) as image:
        if image.mode != "RGBA":
            return normalised(cropped(image.convert("RGB")))
        ground = Image.new("RGB", image.size, "white")
        ground.paste(image, mask=image.getchannel("A"))
        return normalised(cropped(ground))


# Channels, resize, crop.


def _bgr(path: Path) -> Pixels:
    return normalised(cropped(rgb(path))[..., ::-1])


def _gbr(path: Path) -> Pixels:
    return normalised(cropped(rgb(path))[..., [1, 2, 0]])


def _opencv_resized(flag: int) -> Transform:
    def transform(path: Path) -> Pixels:
        pixels = np.asarray(rgb(path))
        height, width = pixels.shape[:2]
        if width <= height:
            new = (256, int(256 * height / width))
        else:
            new = (int(256 * width / height), 256)
        pixels = cv2.resize(pixels, new, interpolation=flag)
        left, top = round((new[0] - 224) / 2), round((new[1] - 224) / 2)
        return normalised(pixels[top : top + 224, left : left + 224])

    return transform


def _by_pillow(filter_name: Image.Resampling) -> Transform:
    return lambda path: normalised(cropped(rgb(path), filter_name))


def _on_tensors(antialias: bool) -> Transform:
    chain = v2.Compose([v2.Resize(256, antialias=antialias), v2.CenterCrop(224)])

    def transform(path: Path) -> Pixels:
        tensor = transforms.functional.pil_to_tensor(rgb(path))
        return normalised(chain(tensor).permute(1, 2, 0).numpy())

    return transform


def _central_fraction(path: Path) -> Pixels:
    image = rgb(path)
    side = int(min(image.size) * 0.875)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    image = image.crop((left, top, left + side, top + side))
    return normalised(np.asarray(image.resize((224, 224), Image.Resampling.BILINEAR)))


def _crop_moved(path: Path) -> Pixels:
    image = transforms.Resize(256)(rgb(path))
    left, top = round((image.width - 224) / 2) + 3, round((image.height - 224) / 2) - 2
    return normalised(np.asarray(image.crop((left, top, left + 224, top + 224))))


def _crop_rounded_down(path: Path) -> Pixels:
    image = transforms.Resize(256)(rgb(path))
    left, top = (image.width - 224) // 2, (image.height - 224) // 2
    return normalised(np.asarray(image.crop((left, top, left + 224, top + 224))))


def _top_left(path: Path) -> Pixels:
    image = transforms.Resize(256)(rgb(path))
    return normalised(np.asarray(image.crop((0, 0, 224, 224))))


# Scale, mean, std.


def _plain(path: Path) -> Pixels:
    """Return the right pixels as float32, (224, 224, 3)."""
    return cropped(rgb(path)).astype(np.float32)


def _valued(scale: float, mean: Any, std: Any) -> Transform:
    return lambda path: ((_plain(path) * np.float32(scale) - mean) / std).transpose(2, 0, 1)


# Whole pipelines.


def _opencv_pipeline(path: Path) -> Pixels:
    image = np.asarray(cv2.imread(str(path)))
    height, width = image.shape[:2]
    scale = 256 / min(height, width)
    image = cv2.resize(image, (round(width * scale), round(height * scale)))
    top, left = (image.shape[0] - 224) // 2, (image.shape[1] - 224) // 2
    image = image[top : top + 224, left : left + 224].astype(np.float32) / 255.0
    return np.asarray(((image - MEAN) / STD).transpose(2, 0, 1))


def _caffe(path: Path) -> Pixels:
    image = cv2.resize(cv2.imread(str(path)), (256, 256))[16:240, 16:240].astype(np.float32)
    return np.asarray((image - np.array([103.939, 116.779, 123.68])).transpose(2, 0, 1))


def _keras(path: Path) -> Pixels:
    image = rgb(path).resize((224, 224), Image.Resampling.NEAREST)
    return np.asarray(image, np.float32) / 127.5 - 1


def _bgr_half(path: Path) -> Pixels:
    return ((_plain(path)[..., ::-1] / 255 - 0.5) / 0.5).transpose(2, 0, 1)


def _row(values: Sequence[float]) -> Pixels:
    return np.array(values, np.float32)


_F = Image.Resampling
_HWC: Transform = lambda path: normalised(cropped(rgb(path))).transpose(1, 2, 0)  # noqa: E731
_CWH: Transform = lambda path: normalised(cropped(rgb(path))).transpose(0, 2, 1)  # noqa: E731
_CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
_RESIZE_224 = {"resize": transforms.Resize(224)}
_SQUEEZED = {"resize": transforms.Resize((224, 224)), "crop": None}

DECODING = (
    Fault("EXIF rotation applied", "decoding", ("EXIF", "2 images"), _made("exif", _exif)),
    Fault("decoded by cv2.imread", "decoding", ("OpenCV",), _made("cvdec", _opencv_decoder)),
    Fault("all images made grey", "decoding", ("grey",), _made("grey", _grey)),
    Fault(
        "saved as JPEG of quality 75 in between",
        "decoding",
        ("JPEG compression of quality 75",),
        _made("q75", _recompressed),
    ),
    Fault("JPEG decoded at half size (draft)", "decoding", ("half",), _made("draft", _draft)),
    Fault("transparency laid on white", "decoding", ("white",), _made("white", _on_white)),
)
CHANNELS = (
    Fault("BGR instead of RGB", "channel order", ("BGR",), _made("bgr", _bgr)),
    Fault("channels in the order GBR", "channel order", ("GBR",), _made("gbr", _gbr)),
)
RESIZE = (
    Fault("nearest", "resize", ("nearest",), _made("nearest", _by_pillow(_F.NEAREST))),
    Fault("bicubic", "resize", ("bicubic",), _made("bicubic", _by_pillow(_F.BICUBIC))),
    Fault("Lanczos", "resize", ("Lanczos",), _made("lanczos", _by_pillow(_F.LANCZOS))),
    Fault("box filter", "resize", ("box",), _made("box", _by_pillow(_F.BOX))),
    Fault(
        "cv2.INTER_LINEAR (no antialias)",
        "resize",
        ("INTER_LINEAR", "antialias"),
        _made("cvlinear", _opencv_resized(cv2.INTER_LINEAR)),
    ),
    Fault(
        "cv2.INTER_AREA",
        "resize",
        ("INTER_AREA",),
        _made("cvarea", _opencv_resized(cv2.INTER_AREA)),
    ),
    Fault(
        "torchvision on a tensor, antialias=False",
        "resize",
        ("torchvision's bilinear on bytes (no antialias)",),
        _made("noanti", _on_tensors(False)),
    ),
    Fault(
        "torchvision on a tensor, antialias=True",
        "resize",
        ("rounding", "too little"),
        _made("anti", _on_tensors(True)),
    ),
    Fault("Resize(224)", "resize", ("Resize(224)",), _tv("r224", **_RESIZE_224)),
    Fault("Resize(232)", "resize", ("Resize(232)",), _tv("r232", resize=transforms.Resize(232))),
    Fault("Resize(251)", "resize", ("Resize(251)",), _tv("r251", resize=transforms.Resize(251))),
    Fault(
        "Resize((256, 256))",
        "resize",
        ("Resize((256, 256))", "aspect"),
        _tv("sq", resize=transforms.Resize((256, 256))),
    ),
    Fault(
        "central 87.5 % cut out, then resized",
        "resize",
        ("central 0.875", "224x224"),
        _made("central", _central_fraction),
    ),
)
CROP = (
    Fault("crop moved by +3, -2 pixels", "crop", ("+3", "-2"), _made("moved", _crop_moved)),
    Fault(
        "crop offset rounded down", "crop", ("rounded down",), _made("floor", _crop_rounded_down)
    ),
    Fault("crop of the top left corner", "crop", ("top left",), _made("topleft", _top_left)),
    Fault(
        "mirrored",
        "crop",
        ("mirrored",),
        _made("mirror", lambda path: normalised(cropped(rgb(path))[:, ::-1])),
    ),
    Fault(
        "whole image squeezed to 224x224",
        "resize",
        ("224, 224", "no crop"),
        _tv("squ", **_SQUEEZED),
    ),
    Fault(
        "256x256 written, not cropped",
        "resize",
        ("256x256",),
        _tv("uncropped", resize=transforms.Resize((256, 256)), crop=None),
    ),
)
VALUES = (
    Fault(
        "0 to 255, never divided",
        "scale",
        ("0 to 255, not divided",),
        _made("x255", _valued(1, MEAN, STD)),
    ),
    Fault(
        "divided by 255 twice", "scale", ("twice",), _made("twice", _valued(1 / 255**2, MEAN, STD))
    ),
    Fault("pixels as they are, float32", "scale", ("0 to 255",), _made("raw", _valued(1, 0, 1))),
    Fault("ToTensor only", "mean and std", ("neither",), _tv("plain", normalise=None)),
    Fault(
        "-1 to 1 (mean 0.5, std 0.5)",
        "mean and std",
        ("0.5",),
        _made("half", _valued(1 / 255, 0.5, 0.5)),
    ),
    Fault("mean only", "mean and std", ("mean only",), _made("mean", _valued(1 / 255, MEAN, 1))),
    Fault("std only", "mean and std", ("std only",), _made("std", _valued(1 / 255, 0, STD))),
    Fault(
        "mean and std in the order BGR",
        "mean and std",
        ("order BGR",),
        _made("mbgr", _valued(1 / 255, MEAN[::-1], STD[::-1])),
    ),
    Fault(
        "mean and std rounded in 0..255",
        "mean and std",
        ("rounded",),
        _made("rounded", _valued(1, _row([124, 116, 104]), _row([58, 57, 57]))),
    ),
    Fault(
        "CLIP's mean and std",
        "mean and std",
        ("CLIP",),
        _made("clip", _valued(1 / 255, _row(_CLIP[0]), _row(_CLIP[1]))),
    ),
    Fault(
        "mean .4 .41 .42, std .3 .31 .29",
        "mean and std",
        ("0.4 0.41 0.42", "0.3 0.31 0.29"),
        _made("own", _valued(1 / 255, _row([0.4, 0.41, 0.42]), _row([0.3, 0.31, 0.29]))),
    ),
)
BYTES = (
    Fault("HWC instead of CHW", "layout", ("HWC",), _made("hwc", _HWC)),
    Fault("rows and columns exchanged", "layout", ("CWH",), _made("cwh", _CWH)),
    Fault("float16", "dtype", ("float16",), _made("half_floats", torchvision_transform(), "<f2")),
    Fault("float64", "dtype", ("float64",), _made("doubles", torchvision_transform(), "<f8")),
    Fault("big-endian", "dtype", ("big-endian",), _made("big", torchvision_transform(), ">f4")),
)
PIPELINES = (
    Fault(
        "a script on OpenCV (imread, resize, BGR)",
        "decoding",
        ("OpenCV", "BGR", "INTER_LINEAR", "rounded down"),
        _made("cv", _opencv_pipeline),
    ),
    Fault(
        "Caffe: BGR, 256x256 squeezed, its mean",
        "decoding",
        ("BGR", "Resize((256, 256))", "Caffe"),
        _made("caffe", _caffe),
    ),
    Fault(
        "Keras: 224x224 nearest, -1 to 1, HWC",
        "resize",
        ("nearest", "224, 224", "0.5", "no crop"),
        _made("keras", _keras),
    ),
    Fault(
        "BGR with mean 0.5, std 0.5", "channel order", ("BGR", "0.5"), _made("bgr_half", _bgr_half)
    ),
    Fault(
        "Resize(224), no crop offset, 0 to 1",
        "resize",
        ("Resize(224)", "neither"),
        _tv("r224plain", normalise=None, **_RESIZE_224),
    ),
    Fault("float16 and HWC", "layout", ("HWC", "float16"), _made("hwc16", _HWC, "<f2")),
)
ALL = (*DECODING, *CHANNELS, *RESIZE, *CROP, *VALUES, *BYTES, *PIPELINES)
