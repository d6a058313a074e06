"""Checkpoint files: the kinds that are taken, and what is refused in one line."""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from models_vovnet import checkpoint, published
from models_vovnet.vovnet import build
from pipeline.errors import PipelineError

PROJECT = Path(__file__).resolve().parent.parent
SLIM = "vovnet27_slim"
State = dict[str, Tensor]


@pytest.fixture(scope="module")
def slim_weights() -> State:
    torch.manual_seed(1)
    return build(SLIM, 7).state_dict()


@pytest.fixture
def state(slim_weights: State) -> State:
    """Return a state dict that a test may change."""
    return {key: value.clone() for key, value in slim_weights.items()}


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., Path]:
    def save(content: Any, **settings: Any) -> Path:
        path = tmp_path / "a checkpoint.pth"
        torch.save(content, path, **settings)
        return path

    return save


Save = Callable[..., Path]


def refusal(path: Path, arch: str = SLIM) -> str:
    """Return the one line that refuses the file."""
    with pytest.raises(PipelineError) as caught:
        checkpoint.load(path, arch)
    line = str(caught.value)
    assert "\n" not in line
    assert line.startswith(str(path))
    assert caught.value.hint
    return line


def prefixed(state: State) -> State:
    return {f"module.{key}": value for key, value in state.items()}


@pytest.mark.parametrize(
    ("wrap", "kind"),
    [
        (lambda state: state, "state dict"),
        (prefixed, "state dict, prefix module."),
        (lambda s: {"state_dict": prefixed(s), "epoch": 90, "arch": "vovnet39", "optimizer": {}},
         "training checkpoint (state_dict), prefix module."),
        (lambda state: {"state_dict": state, "epoch": 3}, "training checkpoint (state_dict)"),
        (lambda state: {"model": state, "epoch": 3}, "training checkpoint (model)"),
        (lambda state: {"model_state_dict": state}, "training checkpoint (model_state_dict)"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("new_format", [True, False])
def test_every_kind_of_checkpoint_gives_the_same_weights(
    wrap: Callable[[State], Any], kind: str, new_format: bool, state: State, save: Save
) -> None:
    path = save(wrap(state), _use_new_zipfile_serialization=new_format)
    loaded = checkpoint.load(path, SLIM)
    assert loaded.kind == kind
    assert loaded.classes == 7
    assert list(loaded.state_dict) == list(state)
    assert all(torch.equal(loaded.state_dict[key], state[key]) for key in state)


def test_the_network_of_a_checkpoint_answers_as_the_one_that_was_saved(save: Save) -> None:
    torch.manual_seed(2)
    saved = build(SLIM, 3).eval()
    for parameter in saved.parameters():
        parameter.data.add_(0.01 * torch.randn_like(parameter))
    network = checkpoint.load(save(saved.state_dict()), SLIM).network()
    pictures = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(network(pictures), saved(pictures))
    assert not any(value.is_meta for value in network.state_dict().values())


def test_two_networks_of_one_checkpoint_share_nothing(state: State, save: Save) -> None:
    loaded = checkpoint.load(save(state), SLIM)
    loaded.network().classifier.weight.zero_()
    assert torch.equal(loaded.network().classifier.weight, state["classifier.weight"])


def test_a_file_from_before_batch_counters_is_taken(state: State, save: Save) -> None:
    old = {key: value for key, value in state.items() if "num_batches" not in key}
    assert len(old) < len(state)
    assert checkpoint.load(save(old), SLIM).network()


def test_half_precision_weights_become_float32(state: State, save: Save) -> None:
    half = {k: v.half() if v.is_floating_point() else v for k, v in state.items()}
    loaded = checkpoint.load(save(half), SLIM).state_dict
    key = "classifier.weight"
    assert loaded[key].dtype == torch.float32
    assert torch.equal(loaded[key], state[key].half().float())


def test_a_checkpoint_says_whether_it_is_the_published_one(
    state: State, save: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(state)
    other = checkpoint.load(path, SLIM)
    assert not other.is_published
    assert other.provenance == f"not the published checkpoint (md5 {other.md5})"
    monkeypatch.setattr(published, "WEIGHTS_MD5", other.md5)
    same = checkpoint.load(path, SLIM)
    assert same.is_published
    assert same.provenance == f"the published checkpoint (md5 {other.md5})"


class RunsCode:
    """What a pickle from a stranger may hold."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (f"touch '{self.mark}'",)


@pytest.mark.parametrize("new_format", [True, False])
def test_no_code_of_the_file_runs_and_its_object_is_named(
    new_format: bool, state: State, save: Save, tmp_path: Path
) -> None:
    mark = tmp_path / "it ran"
    content = {"state_dict": state, "extra": RunsCode(mark)}
    line = refusal(save(content, _use_new_zipfile_serialization=new_format))
    assert "posix.system" in line
    assert "no code is run" in line
    assert not mark.exists()


@pytest.mark.parametrize(
    ("extra", "name"),
    [
        (argparse.Namespace(lr=0.1), "argparse.Namespace"),
        (np.float64(3.5), "numpy"),
        (torch.nn.Linear(1, 1), "torch.nn.modules.linear.Linear"),
    ],
)
def test_a_harmless_object_is_named_with_the_way_out(
    extra: Any, name: str, state: State, save: Save
) -> None:
    line = refusal(save({"state_dict": state, "extra": extra}))
    assert name in line
    assert "torch.save(model.state_dict(), ...)" in line


def test_missing_unexpected_and_misshaped_keys_are_named(state: State, save: Save) -> None:
    del state["stem.stem_2/conv.weight"]
    state["head.weight"] = torch.zeros(2)
    state["stem.stem_1/conv.weight"] = torch.zeros(64, 3, 5, 5)
    line = refusal(save(state))
    assert "3 keys do not fit vovnet27_slim" in line
    assert "missing stem.stem_2/conv.weight" in line
    assert "unexpected head.weight" in line
    assert "misshaped stem.stem_1/conv.weight (64x3x5x5, not 64x3x3x3)" in line


def test_many_bad_keys_are_counted_and_all_of_them_stand_in_the_cause(save: Save) -> None:
    path = save({f"layer{i}.weight": torch.zeros(1) for i in range(30)})
    with pytest.raises(PipelineError) as caught:
        checkpoint.load(path, SLIM)
    # 27 convolutions with five entries each beside the counter, the classifier's two, and 30.
    expected = 27 * 5 + 2 + 30
    assert f"{expected} keys do not fit" in str(caught.value)
    assert f"and {expected - 5} more" in str(caught.value)
    listed = str(caught.value.__cause__).splitlines()[1:]
    assert len(listed) == expected
    assert "unexpected layer29.weight" in listed
    assert "missing classifier.bias" in listed


@pytest.mark.parametrize("there", ["vovnet27_slim", "vovnet39", "vovnet57"])
def test_a_checkpoint_of_another_member_is_recognised(there: str, save: Save) -> None:
    path = save(build(there, 4).state_dict())
    asked = "vovnet39" if there != "vovnet39" else "vovnet57"
    assert f"is no {asked} but a {there}; say so with --arch {there}" in refusal(path, asked)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(value: float, state: State, save: Save) -> None:
    state["stage3.OSA3_1.layers.2.OSA3_1_2/norm.bias"][3] = value
    line = refusal(save(state))
    assert "stage3.OSA3_1.layers.2.OSA3_1_2/norm.bias is NaN or infinite in 1 of 80 values" in line


def test_a_double_beyond_float32_is_refused(state: State, save: Save) -> None:
    state["classifier.bias"] = state["classifier.bias"].double() + 1e300
    assert "classifier.bias is NaN or infinite in 7 of 7 values" in refusal(save(state))


def test_a_negative_variance_is_refused(state: State, save: Save) -> None:
    state["stem.stem_1/norm.running_var"][0] = -1
    assert "stem.stem_1/norm.running_var holds a negative variance" in refusal(save(state))


@pytest.mark.parametrize(
    ("odd", "words"),
    [
        (torch.zeros(7, 512, device="meta"), "no plain tensor"),
        (torch.zeros(1, 1).expand(7, 512), "expanded view"),
        (torch.zeros(7, 512, dtype=torch.int64), "torch.int64"),
        (torch.zeros(7, 512, dtype=torch.complex64), "torch.complex64"),
        (torch.zeros(7, 512, dtype=torch.float8_e4m3fn), "torch.float8_e4m3fn"),
        (torch.zeros(7, 512, dtype=torch.bool), "torch.bool"),
    ],
)
def test_a_tensor_that_cannot_be_computed_with_is_refused(
    odd: Tensor, words: str, state: State, save: Save
) -> None:
    line = refusal(save(state | {"classifier.weight": odd}))
    assert "classifier.weight" in line
    assert words in line


def test_a_classifier_that_claims_a_billion_classes_takes_no_memory(
    state: State, save: Save
) -> None:
    huge = torch.zeros(1, 1).expand(10**9, 512)
    assert "misshaped classifier.weight" in refusal(save(state | {"classifier.weight": huge}))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (torch.zeros(3), "holds a value of type Tensor"),
        ([1, 2], "holds a value of type list"),
        ({}, "holds an empty dictionary"),
        ({"state_dict": {}}, "holds an empty dictionary"),
        ({"epoch": 3}, "holds a value of type int under 'epoch'"),
        ({3: torch.zeros(1)}, "under 3"),
    ],
)
def test_other_content_than_a_state_dict_is_described(content: Any, words: str, save: Save) -> None:
    assert words in refusal(save(content))


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (b"", "is empty"),
        (b"<!DOCTYPE html><html>", "is a web page"),
        (b"\x1f\x8b\x08\x00", "is compressed with gzip"),
        (b"\xff\xd8\xff\xe0", "is a JPEG picture"),
        (b"\x08\x06\x12\x07pytorch", "is an ONNX model"),
        (b"\x40\x00\x00\x00\x00\x00\x00\x00" + b'{"a":{}}'.ljust(64), "is a safetensors file"),
        (b"ILSVRC2012_val_00000001.JPEG 65\n", "is not a PyTorch checkpoint"),
        (b"\x80\x02garbage", "damaged or not a PyTorch checkpoint"),
        (b"\x80\x04\x95", "damaged or not a PyTorch checkpoint"),
        (b"PK\x03\x04rest", "is cut short or damaged"),
    ],
)
def test_a_file_of_another_kind_is_recognised(head: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / "given by mistake.pth"
    path.write_bytes(head)
    assert words in refusal(path)


def test_a_folder_is_refused(tmp_path: Path) -> None:
    assert "is a folder" in refusal(tmp_path)


@pytest.mark.parametrize("new_format", [True, False])
@pytest.mark.parametrize("share", [0.001, 0.3, 0.9, 0.9999])
def test_a_truncated_checkpoint_is_refused(
    new_format: bool, share: float, state: State, save: Save
) -> None:
    path = save(state, _use_new_zipfile_serialization=new_format)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    assert re.search("cut short or damaged|damaged or not", refusal(path))


def test_one_flipped_bit_in_a_weight_is_refused(state: State, save: Save) -> None:
    path = save(state)
    data = bytearray(path.read_bytes())
    place = data.find(state["classifier.weight"].numpy().tobytes())
    assert place > 0
    data[place + 401] ^= 4
    path.write_bytes(data)
    assert "is damaged at" in refusal(path)


@pytest.mark.parametrize("new_format", [True, False])
def test_any_changed_byte_ends_in_one_line(new_format: bool, tmp_path: Path) -> None:
    path = tmp_path / "small.pth"
    content = {"state_dict": {"module.classifier.weight": torch.ones(2, 3)}, "epoch": 1}
    torch.save(content, path, _use_new_zipfile_serialization=new_format)
    good = path.read_bytes()
    random = Random(8)
    for _ in range(300):
        data = bytearray(good)
        for _ in range(random.choice((1, 1, 4))):
            data[random.randrange(len(data))] = random.randrange(256)
        path.write_bytes(data)
        refusal(path)


def test_an_archive_with_a_broken_name_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "named.pth"
    torch.save({"a": torch.ones(1)}, path)
    data = bytearray(path.read_bytes())
    # In the directory at the end: bit 11 of the flags says that the name is UTF-8.
    entry = data.find(b"PK\x01\x02")
    data[entry + 9] |= 8
    data[entry + 46] = 0xB6
    path.write_bytes(data)
    assert "is cut short or damaged ('utf-8' codec" in refusal(path)


def test_a_compressed_archive_is_refused_before_it_unpacks(save: Save, tmp_path: Path) -> None:
    path = save({"a": torch.zeros(1_000_000)})
    bomb = tmp_path / "bomb.pth"
    with zipfile.ZipFile(path) as plain, zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as out:
        for member in plain.infolist():
            out.writestr(member.filename, plain.read(member))
    assert bomb.stat().st_size < 100_000
    assert "is a compressed archive" in refusal(bomb)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_compiled_model_is_recognised(tmp_path: Path) -> None:
    path = tmp_path / "compiled.pth"
    torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2)), path)
    assert "is a TorchScript model" in refusal(path)


def test_the_command_line_says_it_in_one_line_and_lists_all_keys_when_asked(
    state: State, save: Save, tmp_path: Path
) -> None:
    for key in list(state)[:9]:
        del state[key]
    path = save(state)
    command = [sys.executable, str(PROJECT / "vovnet39_pth2onnx.py"), str(path), "x.onnx"]
    plain, full = (
        subprocess.run(
            [*command, "--arch", SLIM, *more], cwd=tmp_path, capture_output=True, text=True
        )
        for more in ((), ("-v",))
    )
    assert plain.returncode == 1
    assert plain.stdout == ""
    assert len(plain.stderr.splitlines()) == 1
    assert "missing stem.stem_2/norm.bias\n" in full.stderr
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [path.name]
