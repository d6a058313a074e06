"""The stand-in for `atc`: options, refusals, AIPP, half precision."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from tests import models
from tests.standins import case, om
from tests.standins.case import AIPP, BATCH, IMAGES, SIZE, convert, measure, pictures, scores


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in a folder that has the case, with no variable of the stand-ins set."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("STANDIN_")]:
        monkeypatch.delenv(name)
    case.fill()
    return tmp_path


@pytest.mark.parametrize(
    ("option", "text"),
    [
        ("--framework=7", "E10007: [--framework] is required. The value must be [0(Caffe)"),
        ("--model=", "E10054: The requied parameter [--model] for ATC is empty."),
        ("--soc_version=Ascend311", "E10001: Value [Ascend311]"),
        ("--log=loud", "E10010: "),
        ("--output=dir/", "E10022: "),
        ("--input_shape=data:1,3,32,32", "no input 'data'"),
        ("--input_shape=image:1,3,64,64", "E10001: "),
        ("--input_shape=image", "E10001: "),
        ("--input_format=NHWC", "E10001: "),
        ("--precision_mode=half", "E10001: "),
        ("--speed=high", "Unknown parameter [--speed=high]"),
        ("-log=debug", "Unknown parameter"),
        ("--insert_op_conf=none.cfg", "E10001: "),
    ],
)
def test_atc_refuses_what_it_does_not_know(
    place: Path, capsys: pytest.CaptureFixture[str], option: str, text: str
) -> None:
    assert convert(option) == 255
    out = capsys.readouterr().out.splitlines()
    assert out[1].startswith("ATC run failed, Please check the detail log, Try 'atc --help'")
    assert text in "\n".join(out[2:])
    assert not list(place.glob("*.om"))


@pytest.mark.parametrize(
    "line",
    ["crop\uff1atrue", "mean_chn_0: 123.675", "colour: red", "csc_switch: maybe", "crop"],
)
def test_an_aipp_file_is_read_strictly(
    place: Path, capsys: pytest.CaptureFixture[str], line: str
) -> None:
    (place / "a.cfg").write_text(f"{AIPP}{line}\n}}\n")
    assert convert("--insert_op_conf=a.cfg") == 255
    assert "insert_op_conf" in capsys.readouterr().out
    (place / "a.cfg").write_text(f"{AIPP}}}\n")
    assert convert("--insert_op_conf=a.cfg", "--enable_small_channel=1") == 0


def test_uint8_through_aipp_scores_as_float32_does(place: Path) -> None:
    assert convert() == 0
    assert measure("-output_binary=true") == 0
    plain = scores()
    (place / "a.cfg").write_text(f"{AIPP}}}\n")
    assert convert("--insert_op_conf=a.cfg") == 0
    assert om.read(Path("m_bs4.om"))[0].inputs[0].shape == (BATCH, SIZE, SIZE, 3)
    assert measure("-output_binary=true", kind="float") != 0
    assert measure("-output_binary=true", kind="uint8") == 0
    np.testing.assert_allclose(scores(), plain, rtol=1e-4, atol=1e-5)


def test_a_picture_is_cropped_on_the_chip(place: Path) -> None:
    crop = "crop: true\nload_start_pos_w: 4\nload_start_pos_h: 2\ncrop_size_w: 32\ncrop_size_h: 32"
    (place / "a.cfg").write_text(f"{AIPP}src_image_size_w: 40\nsrc_image_size_h: 36\n{crop}\n}}")
    assert convert("--insert_op_conf=a.cfg") == 0
    for n in range(IMAGES):
        whole = np.full((36, 40, 3), 7, np.uint8)
        inner = np.fromfile(f"uint8/im_{n}.bin", np.uint8).reshape(SIZE, SIZE, 3)
        whole[2:34, 4:36] = inner
        Path(f"uint8/im_{n}.bin").write_bytes(whole.tobytes())
    assert measure("-output_binary=true", kind="uint8") == 0
    expected = models.expected(place / "m.onnx", pictures())[0]
    np.testing.assert_allclose(scores(), expected, rtol=2e-2, atol=2e-2)


def test_half_precision_shows_by_default_and_not_when_forbidden(place: Path) -> None:
    expected = models.expected(place / "m.onnx", pictures())[0]
    errors = {}
    for mode in ("force_fp16", "force_fp32"):
        assert convert(f"--precision_mode={mode}") == 0
        assert measure("-output_binary=true") == 0
        errors[mode] = float(np.abs(scores() - expected).max())
    assert errors["force_fp32"] < 1e-5 < errors["force_fp16"] < 1e-2


def test_atc_fails_on_demand(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for fault, status, text in (
        ("unsupported_op:Gemm", 255, "EZ3003: No supported Ops kernel and engine are found"),
        ("bad_soc", 255, "E10001: "),
        ("atc_warning", 0, "W11001: "),
        ("atc_silent", 0, "ATC run success"),
    ):
        monkeypatch.setenv("STANDIN_FAULT", fault)
        Path("m_bs4.om").unlink(missing_ok=True)
        assert convert() == status
        assert text in capsys.readouterr().out
        assert Path("m_bs4.om").exists() == (fault == "atc_warning")
    monkeypatch.setenv("STANDIN_FAULT", "no_such_fault")
    with pytest.raises(ValueError, match="no_such_fault"):
        convert()
