"""The AIPP file: its numbers, what they compute, and the check of what is fed to the model."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from pipeline.ascend import aipp
from pipeline.errors import PipelineError
from pipeline.imagenet import MEAN, STD
from pipeline.imagenet.transform import normalise
from tests import models
from tests.standins import aipp as reader
from tests.standins import atc, benchmark, om

PUBLISHED_SUBTRAHENDS = ("123.675", "116.28", "103.53")
PUBLISHED_FACTORS = ("0.0171247538316637", "0.0175070028011204", "0.0174291938997821")
# What uint8 pixels come to differs by this much from the transform, whose steps are others:
# measured over all 256 values of all three channels.
GREATEST_DIFFERENCE = 4.8e-7
GREATEST_DIFFERENCE_HALF = 2.9e-3


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("STANDIN_")]:
        monkeypatch.delenv(name)
    return tmp_path


def every_pixel() -> np.ndarray:
    """Return a picture, uint8 (224, 224, 3), with all 256 values in each channel."""
    values = np.arange(224 * 224, dtype=np.uint32).reshape(224, 224, 1)
    return ((values * [1, 3, 5]) % 256).astype(np.uint8)


def test_the_numbers_are_the_published_ones() -> None:
    assert aipp.subtrahends() == PUBLISHED_SUBTRAHENDS
    assert aipp.factors() == PUBLISHED_FACTORS


def test_float32_reads_the_nearest_value_it_has() -> None:
    for mean, std, subtrahend, factor in zip(
        MEAN, STD, aipp.subtrahends(), aipp.factors(), strict=True
    ):
        exact = {
            subtrahend: Fraction(str(mean)) * 255,
            factor: 1 / (Fraction(str(std)) * 255),
        }
        for written, wanted in exact.items():
            read = np.float32(written)
            for neighbour in (np.nextafter(read, np.float32(side)) for side in (-np.inf, np.inf)):
                nearer = abs(Fraction(float(read)) - wanted) < abs(
                    Fraction(float(neighbour)) - wanted
                )
                assert nearer, written


def test_the_numbers_follow_the_mean_and_deviation_of_the_transform(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(aipp, "MEAN", (0.5, 0.4, 0.0))
    monkeypatch.setattr(aipp, "STD", (1.0, 0.5, 0.25))
    assert aipp.subtrahends() == ("127.5", "102", "0")
    assert [float(f) for f in aipp.factors()] == pytest.approx([1 / 255, 2 / 255, 4 / 255])


def test_the_file_has_the_documented_fields_and_nothing_else() -> None:
    fields = reader.parse(aipp.text())
    numbers = {f"min_chn_{i}": float(n) for i, n in enumerate(PUBLISHED_SUBTRAHENDS)}
    numbers |= {f"var_reci_chn_{i}": float(n) for i, n in enumerate(PUBLISHED_FACTORS)}
    assert fields == numbers | {
        "aipp_mode": "static",
        "input_format": "RGB888_U8",
        "src_image_size_w": 224,
        "src_image_size_h": 224,
        "crop": False,
    }
    assert aipp.text().isascii()


def test_pixels_come_to_what_the_transform_makes_of_them() -> None:
    pixels = every_pixel()
    assert all(len(np.unique(pixels[..., i])) == 256 for i in range(3))
    computed = reader.apply(reader.parse(aipp.text()), pixels[None])[0]
    difference = np.abs(computed - normalise(pixels)).max()
    assert 0 < difference <= GREATEST_DIFFERENCE


def test_in_half_precision_they_stay_near_what_it_can_hold() -> None:
    # The ATC guide has both numbers and the outcome as float16; how the chip rounds is not known,
    # so here is each step rounded by itself.
    pixels = every_pixel()
    shift, factor = (
        np.array(numbers, np.float16) for numbers in (aipp.subtrahends(), aipp.factors())
    )
    halves = ((pixels.astype(np.float16) - shift) * factor).transpose(2, 0, 1)
    assert halves.dtype == np.float16
    exact = normalise(pixels)
    difference = np.abs(halves.astype(np.float32) - exact).max()
    assert difference <= GREATEST_DIFFERENCE_HALF
    assert np.abs(exact.astype(np.float16) - exact).max() > difference / 4


def test_the_converter_takes_the_file_and_the_model_then_takes_pixels(place: Path) -> None:
    models.save_classifier(place / "m.onnx", classes=10)
    aipp.write(place / "aipp.cfg")
    pixels = every_pixel()
    for kind, array in (("float", normalise(pixels)), ("uint8", pixels)):
        Path(kind).mkdir()
        Path(kind, "im.bin").write_bytes(array.tobytes())
        Path(f"{kind}.info").write_text(f"0 ./{kind}/im.bin 224 224\n")
    scores = {}
    for device, kind in enumerate(("float", "uint8")):
        more = ["--insert_op_conf=aipp.cfg"] if kind == "uint8" else []
        assert (
            atc.main(
                [
                    *("--framework=5", "--model=m.onnx", "--input_format=NCHW"),
                    *("--input_shape=image:1,3,224,224", f"--output={kind}", "--log=error"),
                    *("--soc_version=Ascend310", *more),
                ]
            )
            == 0
        )
        taken = om.read(Path(f"{kind}.om"))[0].inputs[0]
        size = int(np.prod(taken.shape)) * np.dtype(taken.dtype).itemsize
        assert size == aipp.sample_bytes(kind == "uint8")
        assert aipp.check_bins(Path(f"{kind}.info"), size) == 1
        assert (
            benchmark.main(
                [
                    *("-model_type=vision", f"-device_id={device}", "-batch_size=1"),
                    *(f"-om_path={kind}.om", f"-input_text_path={kind}.info"),
                    *("-input_width=224", "-input_height=224", "-output_binary=True"),
                ]
            )
            == 0
        )
        scores[kind] = np.fromfile(f"result/dumpOutput_device{device}/im_1.bin", np.float32)
    assert np.abs(scores["float"] - scores["uint8"]).max() < 1e-5


def test_writing_again_leaves_the_same_file(place: Path) -> None:
    path = place / "a folder" / "aipp.cfg"
    path.parent.mkdir()
    aipp.write(path)
    before = path.read_bytes()
    aipp.write(path)
    assert path.read_bytes() == before == aipp.text().encode()
    assert [p.name for p in path.parent.iterdir()] == ["aipp.cfg"]


def list_of(place: Path, *sizes: int) -> Path:
    """Write files of those sizes and an info file that lists them; return the latter."""
    lines = []
    for number, size in enumerate(sizes):
        with Path(f"im {number}.bin").open("wb") as file:
            file.truncate(size)
        lines.append(f"{number} ./im {number}.bin 224 224\n")
    info = place / "bins.info"
    info.write_text("".join(lines))
    return info


@pytest.mark.parametrize("aipp_on", [True, False])
def test_files_of_the_right_size_pass(place: Path, aipp_on: bool) -> None:
    size = aipp.sample_bytes(aipp_on)
    assert size == (150_528 if aipp_on else 602_112)
    assert aipp.check_bins(list_of(place, *[size] * 3), size) == 3


@pytest.mark.parametrize(
    ("aipp_on", "size", "cause", "remedy"),
    [
        (True, 602_112, "float32 tensors, and a model with AIPP takes uint8", "--dtype uint8"),
        (False, 150_528, "without AIPP", "--insert_op_conf"),
        (True, 196_608, "256x256", "--dtype uint8"),
        (False, 196_608, "256x256", "vovnet_torch_preprocess.py"),
        (True, 786_432, "256x256", "--dtype uint8"),
        (False, 786_432, "256x256", "vovnet_torch_preprocess.py"),
        (False, 301_056, "float16", "vovnet_torch_preprocess.py"),
        (True, 16 * 150_528, "16 samples in one file", "-batch_size"),
        (False, 8 * 602_112, "8 samples in one file", "-batch_size"),
        (True, 150_527, "another model, or cut short", "--dtype uint8"),
        (False, 0, "empty", "make the .bin files again"),
    ],
)
def test_a_file_of_another_size_is_named_with_the_likely_cause(
    place: Path, aipp_on: bool, size: int, cause: str, remedy: str
) -> None:
    wanted = aipp.sample_bytes(aipp_on)
    with pytest.raises(PipelineError) as caught:
        aipp.check_bins(list_of(place, wanted, size, 7), wanted)
    assert f"./im 1.bin has {size} bytes, and the model takes {wanted}" in caught.value.what
    assert cause in caught.value.what
    assert remedy in caught.value.hint


def test_a_batch_taken_for_a_sample_is_told(place: Path) -> None:
    wanted = 4 * aipp.sample_bytes(False)
    with pytest.raises(PipelineError, match=r"1/4 of that.*a batch of 4"):
        aipp.check_bins(list_of(place, aipp.sample_bytes(False)), wanted)


@pytest.mark.parametrize("there", ["nothing", "a folder"])
def test_a_listed_file_that_is_none_is_named(place: Path, there: str) -> None:
    info = list_of(place, 150_528, 150_528)
    Path("im 1.bin").unlink()
    if there == "a folder":
        Path("im 1.bin").mkdir()
    with pytest.raises(PipelineError, match=r"\./im 1\.bin, which .*bins\.info lists"):
        aipp.check_bins(info, 150_528)
