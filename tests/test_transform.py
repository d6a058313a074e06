"""The transform against torchvision and Pillow, byte for byte."""

from __future__ import annotations

import hashlib
import random
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from torchvision import transforms

from pipeline.errors import PipelineError
from pipeline.imagenet import CROP, MEAN, RESIZE, STD, decode, resize, transform
from tests.images import jpeg, noise, photo, write_broken_pictures, write_odd_pictures

# pytest lifts the filters that the module sets; the tests of the command line see them at work.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

CROPPED = transforms.Compose([transforms.Resize(RESIZE), transforms.CenterCrop(CROP)])
REFERENCE = transforms.Compose([CROPPED, transforms.ToTensor(), transforms.Normalize(MEAN, STD)])


def reference(path: Path) -> NDArray[np.float32]:
    with warnings.catch_warnings(), Image.open(path) as image:
        warnings.simplefilter("ignore")
        values: NDArray[np.float32] = REFERENCE(image.convert("RGB")).numpy()
    return values


def assert_same_crop(image: Image.Image) -> None:
    expected = np.asarray(CROPPED(image))
    for picture in (image, np.asarray(image)):
        found = transform.crop_pixels(picture)
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found, expected, err_msg=str(image.size))


def test_odd_pictures_come_out_as_torchvision_has_them(tmp_path: Path) -> None:
    paths = write_odd_pictures(tmp_path)
    assert len(paths) >= 30
    for path in paths:
        found = transform.prepare(path)
        assert found.dtype == np.float32
        assert found.tobytes() == reference(path).tobytes(), path.name


@pytest.mark.parametrize(
    "name",
    [
        f"bad_{n}"
        for n in (
            "truncated.jpg",
            "header_only.jpg",
            "empty.jpg",
            "text.JPEG",
            "bomb.png",
            "truncated_png.png",
            "postscript.jpg",
        )
    ],
)
def test_broken_picture_is_refused_by_name_and_leaves_the_buffer_alone(
    tmp_path: Path, name: str
) -> None:
    write_broken_pictures(tmp_path)
    out = np.full((3, CROP, CROP), 7.0, np.float32)
    with pytest.raises(PipelineError, match=name):
        transform.prepare(tmp_path / name, out)
    assert (out == 7.0).all()


def test_bomb_is_refused_by_its_header(tmp_path: Path) -> None:
    write_broken_pictures(tmp_path)
    for look in (decode.load_rgb, decode.image_size):
        with pytest.raises(PipelineError, match=r"claims more pixels than the \d+ allowed"):
            look(tmp_path / "bad_bomb.png")


@pytest.mark.parametrize("make", ["missing", "folder", "pipe"])
def test_what_is_no_regular_file_is_refused_at_once(tmp_path: Path, make: str) -> None:
    import os

    path = tmp_path / "x.jpg"
    if make == "folder":
        path.mkdir()
    elif make == "pipe":
        os.mkfifo(path)
    for look in (decode.load_rgb, decode.image_size):
        with pytest.raises(PipelineError, match=r"x\.jpg cannot be read"):
            look(path)


def test_load_rgb_is_pillows_own_conversion_and_warns_of_nothing(tmp_path: Path) -> None:
    for path in write_odd_pictures(tmp_path):
        found = decode.load_rgb(path)
        with warnings.catch_warnings(), Image.open(path) as image:
            warnings.simplefilter("ignore")
            expected = image.convert("RGB")
        assert found.mode == "RGB"
        assert found.tobytes() == expected.tobytes(), path.name


def test_picture_beyond_half_of_pillows_limit_is_read_in_silence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    path = tmp_path / "large.png"
    noise(40, 40).save(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
    assert decode.load_rgb(path).size == (40, 40)
    assert not recwarn.list


def test_image_size_comes_from_the_header_alone(tmp_path: Path) -> None:
    for path in write_odd_pictures(tmp_path):
        with Image.open(path) as image:
            assert decode.image_size(path) == image.size, path.name
    whole = jpeg(photo(200, 150), quality=90)
    (tmp_path / "half.jpg").write_bytes(whole[: len(whole) // 2])
    assert decode.image_size(tmp_path / "half.jpg") == (200, 150)


def test_random_sizes_are_resized_and_cropped_exactly() -> None:
    rng = np.random.default_rng(20)
    for case in range(300):
        width, height = (int(2 ** rng.uniform(0, 9.8)) for _ in range(2))
        if max(width, height) > 30 * min(width, height):
            height = max(1, width // int(rng.integers(1, 30)))
        if case % 7 == 0:
            height = width
        if case % 11 == 0:
            width = RESIZE
        image = noise(width, height, case)
        if case % 3 == 0:  # black and white: the sums reach the ends of their range
            image = image.point(lambda value: 255 * (value > 127))
        assert_same_crop(image)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 700), st.integers(1, 700), st.integers(0, 2**32 - 1))
def test_any_size_is_resized_and_cropped_exactly(width: int, height: int, seed: int) -> None:
    if max(width, height) <= 40 * min(width, height):
        assert_same_crop(noise(width, height, seed))


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many sums of each pass were settled in double precision."""
    found: list[int] = []
    differing = resize._differing

    def spy(*arrays: NDArray[np.uint8]) -> resize.Indices:
        near = differing(*arrays)
        found.append(near.size)
        return near

    monkeypatch.setattr(resize, "_differing", spy)
    return found


def test_sums_next_to_a_half_are_settled_in_double_precision(
    found: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    for size in [(500, 375), (640, 480), (2000, 1500)]:
        assert_same_crop(noise(*size).point(lambda value: 255 * (value > 127)))
        assert sum(found) > 0
        found.clear()
    # Halving makes every eighth sum a half; single precision holds those sums exactly.
    assert_same_crop(noise(640, 512))
    assert not found
    monkeypatch.setattr(resize, "_differing", lambda *_arrays: np.empty(0, np.intp))
    with pytest.raises(AssertionError):
        for seed in range(20):
            assert_same_crop(noise(500, 375, seed).point(lambda value: 255 * (value > 127)))


@pytest.mark.parametrize("size", [(500, 375), (375, 500), (200, 150)])
def test_halves_between_two_equal_weights_need_no_second_look(
    size: tuple[int, int], found: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert_same_crop(noise(*size))
    sought = sum(found)
    found.clear()
    resize._axis.cache_clear()
    monkeypatch.setattr(resize, "TIE_BITS", 0)  # only whole weights are coarse then
    assert_same_crop(noise(*size))
    resize._axis.cache_clear()
    assert sum(found) > sought + 200


@pytest.mark.parametrize(
    "size", [(1, 300), (300, 1), (2, 900), (3000, 30), (30, 3000), (1, 1), (3, 2), (2500, 1700)]
)
def test_extreme_size_is_exact(size: tuple[int, int]) -> None:
    assert_same_crop(noise(*size))


@pytest.mark.parametrize("size", [(1, 5000), (5000, 1), (10_000, 100), (1, 65_000)])
def test_extreme_aspect_needs_no_memory(size: tuple[int, int]) -> None:
    """What the full resize would hold is 1 to 17 GB; here it is checked against the near ends.

    Along the short side one pixel is all there is, and along the long side the 224 outputs in the
    middle lie so close together that a crop around them, resized at the same scale, is the same.
    """
    import tracemalloc

    image = noise(*size)
    tracemalloc.start()
    found = transform.crop_pixels(image)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 30e6
    if size == (10_000, 100):
        np.testing.assert_array_equal(found, np.asarray(CROPPED(image)))
        return
    long_side = max(size)
    middle = long_side // 2
    window = (0, middle - 8, 1, middle + 8) if size[0] == 1 else (middle - 8, 0, middle + 8, 1)
    expected = np.asarray(CROPPED(image.crop(window)))
    np.testing.assert_array_equal(found, expected)


def test_tall_picture_is_resized_horizontally_first() -> None:
    """The two pass orders differ on this picture; the digest is the classic one's (Pillow < 13)."""
    image = noise(320, 685, 9)
    width, height = resize.resized_size(*image.size)
    bilinear = Image.Resampling.BILINEAR
    top, left = resize.crop_offset(height), resize.crop_offset(width)
    box = (left, top, left + CROP, top + CROP)
    across_first = image.resize((width, 685), bilinear).resize((width, height), bilinear).crop(box)
    down_first = image.resize((320, height), bilinear).resize((width, height), bilinear).crop(box)
    found = transform.crop_pixels(image).tobytes()
    assert found == across_first.tobytes()
    assert found != down_first.tobytes()
    assert (
        hashlib.sha256(found).hexdigest()
        == "323d1dcc13ef473c8baf8384b88dac2077f980db0ddc112fb2454c8652bb6bd3"
    )
    assert (
        hashlib.sha256(transform.normalise(transform.crop_pixels(image)).tobytes()).hexdigest()
        == "9939e9a5e86d86ef8d7f1db71dc44b2b90a3a23b5f37821186029fe1f878a823"
    )


def test_size_rule_and_crop_offset_are_torchvisions() -> None:
    assert resize.resized_size(500, 375) == (341, 256)
    assert resize.resized_size(375, 500) == (256, 341)
    assert resize.resized_size(256, 256) == (256, 256)
    assert [resize.crop_offset(size) for size in (256, 257, 259, 261, 341)] == [16, 16, 18, 18, 58]


def test_every_pixel_value_is_normalised_exactly() -> None:
    values = np.arange(CROP * CROP * 3, dtype=np.uint32).reshape(CROP, CROP, 3)
    pixels = (values // 3 % 256).astype(np.uint8)
    steps = transforms.Compose([transforms.ToTensor(), transforms.Normalize(MEAN, STD)])
    expected = steps(Image.fromarray(pixels)).numpy()
    assert transform.normalise(pixels).tobytes() == expected.tobytes()
    batch = np.zeros((2, 3, CROP, CROP), np.float32)
    assert np.shares_memory(transform.normalise(pixels, batch[1]), batch)
    assert batch[1].tobytes() == expected.tobytes()
    assert not batch[0].any()


def test_wrong_buffer_or_picture_is_a_value_error(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    noise(30, 30).save(path)
    for out in (
        np.zeros((3, CROP, CROP)),
        np.zeros((CROP, CROP, 3), np.float32),
        np.zeros((3, CROP, 2 * CROP), np.float32)[..., ::2],
    ):
        with pytest.raises(ValueError, match="out is"):
            transform.prepare(path, out)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="mode is L"):
        transform.crop_pixels(noise(30, 30).convert("L"))
    with pytest.raises(ValueError, match="not uint8"):
        transform.crop_pixels(np.zeros((30, 30), np.uint8))
    with pytest.raises(ValueError, match="pixels are"):
        transform.normalise(np.zeros((3, CROP, CROP), np.uint8))


def test_fast_decoder_never_gives_other_pixels_than_pillow(tmp_path: Path) -> None:
    """Thousands of damaged files: the same pixels, or refused where Pillow refuses."""
    rng = random.Random(3)
    whole = [
        jpeg(image, **options)
        for image in (photo(67, 45), photo(96, 80, 1).convert("L"))
        for options in ({}, {"subsampling": 2}, {"progressive": True}, {"restart_marker_blocks": 2})
    ]
    path = tmp_path / "x.jpg"
    outcomes = {"same": 0, "refused": 0}
    for _ in range(1000):
        path.write_bytes(damaged(rng.choice(whole), rng))
        try:
            with Image.open(path, formats=decode.FORMATS) as image:
                expected = np.asarray(image.convert("RGB"))
        except Exception:
            with pytest.raises(PipelineError):
                decode.load_pixels(path)
            outcomes["refused"] += 1
            continue
        np.testing.assert_array_equal(np.asarray(decode.load_pixels(path)), expected)
        outcomes["same"] += 1
    assert min(outcomes.values()) > 100


def damaged(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    where = rng.randrange(len(data))
    kind = rng.randrange(4)
    if kind == 0:
        changed[where] ^= 1 << rng.randrange(8)
    elif kind == 1:
        del changed[where:]
    elif kind == 2:
        del changed[where : where + rng.randrange(1, 9)]
    else:
        changed[where:where] = rng.randbytes(3)
    return bytes(changed)


def test_threads_do_not_disturb_each_other() -> None:
    images = [noise(200 + 40 * n, 300 - 20 * n, n) for n in range(4)]
    expected = [transform.crop_pixels(image).tobytes() for image in images]
    wrong: list[int] = []

    def work(number: int) -> None:
        for _ in range(20):
            if transform.crop_pixels(images[number]).tobytes() != expected[number]:
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_large_picture_is_worked_off_in_strips() -> None:
    image = noise(1500, 1300)
    assert_same_crop(image)
