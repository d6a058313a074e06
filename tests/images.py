"""Pictures for the tests, made on the spot: photo-like ones, odd ones, broken ones."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image


def photo(width: int, height: int, seed: int = 0) -> Image.Image:
    """Return an RGB picture with large and small structures, like a photograph."""
    rng = np.random.default_rng(seed)
    values = np.full((height, width, 3), 128.0)
    for cells, contrast in ((3, 50.0), (12, 30.0), (60, 20.0)):
        coarse = rng.normal(0.0, contrast, (cells, cells, 3)).astype(np.float32)
        for channel in range(3):
            plane = Image.fromarray(coarse[..., channel])
            values[..., channel] += np.asarray(
                plane.resize((width, height), Image.Resampling.BICUBIC)
            )
    values += rng.normal(0.0, 5.0, (height, width, 1))
    return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    """Return an RGB picture of independent pixels, the hardest case for any resize."""
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


def jpeg(image: Image.Image, **options: object) -> bytes:
    """Return `image` as the bytes of a JPEG file."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", **options)
    return buffer.getvalue()


def write_odd_pictures(folder: Path) -> list[Path]:
    """Write pictures that torchvision's default loader reads, of every kind, and return them."""
    folder.mkdir(parents=True, exist_ok=True)
    base = photo(300, 280, 1)
    rgba = base.convert("RGBA")
    rgba.putalpha(Image.linear_gradient("L").resize(base.size))
    palette = base.quantize(64)
    deep = Image.fromarray(np.arange(300 * 280, dtype=np.uint16).reshape(280, 300))
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: turn by a quarter
    made: list[tuple[str, Image.Image, str, dict[str, object]]] = [
        ("plain.JPEG", base, "JPEG", {"quality": 90}),
        ("subsampled.jpg", base, "JPEG", {"subsampling": 2}),
        ("half_subsampled.jpg", base, "JPEG", {"subsampling": 1}),
        ("progressive.jpg", base, "JPEG", {"progressive": True}),
        ("restart_markers.jpg", base, "JPEG", {"restart_marker_blocks": 3}),
        ("rgb_stored.jpg", base, "JPEG", {"keep_rgb": True}),
        ("grey.jpg", base.convert("L"), "JPEG", {}),
        ("cmyk.jpg", base.convert("CMYK"), "JPEG", {}),
        ("rotated_by_exif.jpg", photo(320, 260, 2), "JPEG", {"exif": exif.tobytes()}),
        ("png_named.JPEG", base, "PNG", {}),
        ("gif_named.jpg", palette, "GIF", {}),
        ("palette.png", palette, "PNG", {}),
        ("palette_transparent.png", palette, "PNG", {"transparency": bytes(range(64))}),
        ("alpha.png", rgba, "PNG", {}),
        ("grey_alpha.png", rgba.convert("LA"), "PNG", {}),
        ("deep_16_bit.png", deep, "PNG", {}),
        ("one_bit.png", base.convert("1"), "PNG", {}),
        ("float.tif", base.convert("F"), "TIFF", {}),
        ("ink.tiff", base.convert("CMYK"), "TIFF", {}),
        ("lossless.webp", base, "WEBP", {"lossless": True}),
        ("windows.bmp", base, "BMP", {}),
        ("portable.ppm", base, "PPM", {}),
        ("portable_grey.pgm", base.convert("L"), "PPM", {}),
        ("one_pixel.png", noise(1, 1), "PNG", {}),
        ("one_pixel_jpeg.jpg", noise(1, 1), "JPEG", {}),
        ("exactly_256.png", noise(256, 256), "PNG", {}),
        ("exactly_224.png", noise(224, 224), "PNG", {}),
        ("wide.png", noise(900, 60), "PNG", {}),
        ("tall.png", noise(90, 700), "PNG", {}),
    ]
    for name, image, kind, options in made:
        image.save(folder / name, kind, **options)
    frames = [photo(280, 270, seed) for seed in (3, 4)]
    frames[0].save(folder / "animated.webp", save_all=True, append_images=frames[1:], lossless=True)
    return sorted(folder.iterdir())


def write_broken_pictures(folder: Path) -> list[Path]:
    """Write files that no decoder may take for pictures, and return them."""
    folder.mkdir(parents=True, exist_ok=True)
    whole = jpeg(photo(200, 150, 5), quality=90)
    png = io.BytesIO()
    photo(100, 90, 6).save(png, "PNG")
    contents = {
        "bad_truncated.jpg": whole[: len(whole) // 2],
        "bad_header_only.jpg": whole[:300],
        "bad_empty.jpg": b"",
        "bad_text.JPEG": b"this is no picture\n",
        "bad_bomb.png": bomb(60_000, 60_000),
        "bad_truncated_png.png": png.getvalue()[:-4000],
        "bad_postscript.jpg": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n%%EOF\n",
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return [folder / name for name in sorted(contents)]


def bomb(width: int, height: int) -> bytes:
    """Return a PNG of a few bytes that claims that size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body
