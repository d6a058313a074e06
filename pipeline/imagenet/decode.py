"""Picture files to RGB pixels, as `PIL.Image.open(path).convert("RGB")` gives them.

Plain JPEG files, nearly all of ImageNet, take a shorter way to the same pixels: simplejpeg, which
is libjpeg-turbo as in Pillow, and which refuses a stream that the library so much as warns of.
Whatever it refuses, and everything else, is decoded by Pillow. OpenCV's decoder is no candidate:
it returns pixels for some damaged files that Pillow refuses, and prints its warnings.
"""

from __future__ import annotations

import io
import os
import stat
import warnings
from pathlib import Path

import numpy as np
import simplejpeg
from PIL import Image, UnidentifiedImageError

from pipeline.errors import PipelineError
from pipeline.imagenet.resize import Picture

# What ImageNet's files and torchvision's list of extensions hold. A file's content decides, not its
# name. Formats beyond these stay shut: Pillow would run Ghostscript on an EPS file, for example.
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "DIB", "PPM", "TIFF", "WEBP", "JPEG2000")

# A file of more bytes has its header looked at before all of it is read: it may be anything.
_LARGE = 64 << 20
# The most pixels that Pillow takes have 1.4 GB, uncompressed at 8 bytes each.
_MOST_BYTES = 2 << 30

# Pillow warns of odd metadata, and of pictures beyond half its pixel limit, which is not an error.
warnings.filterwarnings("ignore", module=r"PIL\.")
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


def load_pixels(path: Path, data: bytes | None = None) -> Picture:
    """Return the picture at `path` as the faster decoder leaves it.

    A uint8 array (height, width, 3), or a PIL image in mode RGB; the pixels are the same. Metadata
    that asks for a rotation is passed over, and of an animation the first frame is taken, as
    torchvision does. `data` is the file's content, if it has been read already. Raises
    PipelineError where the file cannot be decoded.
    """
    if data is None:
        data = read(path)
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            pixels = _plain_jpeg(data, image)
            return image.convert("RGB") if pixels is None else pixels
    except Exception as error:  # Pillow's decoders raise whatever a damaged file leads them to
        raise PipelineError(f"{path} cannot be decoded: {_reason(error)}") from error


def load_rgb(path: Path) -> Image.Image:
    """Return the picture at `path` as a PIL image in mode RGB; as `load_pixels` otherwise."""
    picture = load_pixels(path)
    return picture if isinstance(picture, Image.Image) else Image.fromarray(picture)


def image_size(path: Path) -> tuple[int, int]:
    """Return (width, height) in pixels from the header of `path`; the pixels stay undecoded.

    Raises PipelineError where the file has no header of a picture.
    """
    _refuse_special(path)
    try:
        with Image.open(path, formats=FORMATS) as image:
            return image.size
    except Exception as error:
        raise PipelineError(f"{path} is no picture: {_reason(error)}") from error


def _plain_jpeg(data: bytes, image: Image.Image) -> Picture | None:
    """Return the pixels of a flawless grey or YCbCr JPEG, else None: then Pillow has to judge."""
    if image.format != "JPEG" or image.mode not in ("L", "RGB"):
        return None
    try:
        pixels = simplejpeg.decode_jpeg(data, "RGB", strict=True)
    except ValueError:
        return None
    if pixels.shape != (image.height, image.width, 3) or pixels.dtype != np.uint8:
        return None
    return pixels  # type: ignore[no-any-return]


def read(path: Path) -> bytes:
    """Return the content of a file; PipelineError where it cannot be read."""
    return read_with_status(path)[0]


def read_with_status(path: Path) -> tuple[bytes, os.stat_result]:
    """Return the content of a file, and its status from before that was read.

    A link is followed, also to a file elsewhere. Raises PipelineError where the file cannot be
    read, is no regular one, or is too large for a picture.
    """
    _refuse_special(path)
    try:
        # Should a pipe have taken the name meanwhile, opening it does not wait for a writer.
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            status = os.fstat(handle)
            if status.st_size > _LARGE:
                _refuse_large(path, status.st_size)
            return _content(handle, status.st_size), status
        finally:
            os.close(handle)
    except OSError as error:
        raise PipelineError(f"{path} cannot be read: {error.strerror}") from error


def _content(handle: int, size: int) -> bytes:
    parts = [os.read(handle, size)]
    left = size - len(parts[0])
    while left and parts[-1]:  # one call reads 2 GiB at most
        parts.append(os.read(handle, left))
        left -= len(parts[-1])
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _refuse_large(path: Path, size: int) -> None:
    if size > _MOST_BYTES:
        raise PipelineError(f"{path} cannot be decoded: {size} bytes, no picture has as many")
    image_size(path)


def _refuse_special(path: Path) -> None:
    """Refuse what is no regular file: reading a device may do harm, or never end."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        raise PipelineError(f"{path} cannot be read: {_reason(error)}") from error
    if not stat.S_ISREG(mode):
        raise PipelineError(f"{path} cannot be read: not a regular file")


def _reason(error: Exception) -> str:
    """Return in a few words why a picture was refused."""
    if isinstance(error, UnidentifiedImageError):
        return "no picture of a known format"
    if isinstance(error, Image.DecompressionBombError):
        return f"it claims more pixels than the {2 * (Image.MAX_IMAGE_PIXELS or 0)} allowed"
    if isinstance(error, MemoryError):
        return "not enough memory"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = " ".join(str(error).split()) or "it is damaged"
    return text[:200]
