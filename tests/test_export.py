"""The exported model: its graph, its answers, its bytes, and what stops it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from torch import nn
from torchvision.transforms.v2.functional import normalize

from models_vovnet import checkpoint
from models_vovnet.family import ARCHS
from models_vovnet.vovnet import VoVNet, build
from pipeline import export as room
from pipeline.errors import PipelineError
from pipeline.imagenet import MEAN, STD

PROJECT = Path(__file__).resolve().parent.parent
SLIM = "vovnet27_slim"
CLASSES = 11


def trained(arch: str) -> VoVNet:
    """Return a network with statistics of its own, as training leaves them, and logits around 10.

    With batch norm as it is made, folding it would change nothing and a mistake there stay unseen.
    """
    torch.manual_seed(4)
    network = build(arch, CLASSES)
    network.train()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
            module.weight.data.uniform_(0.8, 1.2)
            module.bias.data.normal_(0, 0.1)
    with torch.no_grad():
        features = network.features(torch.randn(4, 3, 96, 96))
        network.classifier.weight.mul_(10 / network.classifier(features).abs().max())
        network.classifier.bias.normal_()
    return network.eval()


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a function that gives the checkpoint file of a member of the family."""
    folder = tmp_path_factory.mktemp("weights of the family")

    def file(arch: str) -> Path:
        path = folder / f"{arch}.pth"
        if not path.exists():
            state = trained(arch).state_dict()
            torch.save({f"module.{key}": value for key, value in state.items()}, path)
        return path

    return file


Weights = Callable[[str], Path]


@pytest.fixture(scope="module")
def slim_model(weights: Weights, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "slim.onnx"
    room.export(weights(SLIM), path, SLIM)
    return path


def stage(folder: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    script = PROJECT / "vovnet39_pth2onnx.py"
    command = [sys.executable, str(script), *map(str, arguments)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


def answers(model: Path, batch: NDArray[np.generic]) -> NDArray[np.float32]:
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    (logits,) = session.run(["class"], {"image": batch})
    return np.asarray(logits)


def torch_answers(path: Path, arch: str, batch: torch.Tensor) -> NDArray[np.float32]:
    with torch.inference_mode():
        logits: NDArray[np.float32] = checkpoint.load(path, arch).network()(batch).numpy()
    return logits


def assert_same(answer: NDArray[np.float32], expected: NDArray[np.float32]) -> None:
    """Compare as two float32 engines can be compared: within 2e-5 of the greatest logit."""
    assert answer.shape == expected.shape
    assert np.abs(answer - expected).max() < 2e-5 * np.abs(expected).max()


def shape_of(value: onnx.ValueInfoProto) -> list[int | str]:
    return [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]


@pytest.mark.parametrize("arch", ARCHS)
def test_every_arch_answers_in_onnx_as_in_torch(
    arch: str, weights: Weights, tmp_path: Path
) -> None:
    target = tmp_path / "v.onnx"
    exported = room.export(weights(arch), target, arch)
    assert exported.relative < 1e-5
    pictures = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(6))
    expected = torch_answers(weights(arch), arch, pictures)
    assert expected.std() > 1
    assert_same(answers(target, pictures.numpy()), expected)
    assert_same(answers(target, pictures[1:].numpy()), expected[1:])


def test_the_graph_of_vovnet39_is_the_plain_folded_network(
    weights: Weights, tmp_path: Path
) -> None:
    room.export(weights("vovnet39"), tmp_path / "v.onnx")
    model = onnx.load(tmp_path / "v.onnx")
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 11)]
    assert Counter(node.op_type for node in model.graph.node) == {
        "Conv": 39, "Relu": 39, "Concat": 6, "MaxPool": 3, "Add": 2,
        "GlobalAveragePool": 1, "Flatten": 1, "Gemm": 1,
    }  # fmt: skip
    assert [value.name for value in model.graph.input] == ["image"]
    assert [value.name for value in model.graph.output] == ["class"]
    assert shape_of(model.graph.input[0]) == ["batch", 3, 224, 224]
    assert shape_of(model.graph.output[0]) == ["batch", CLASSES]


def test_a_network_that_was_never_trained_gives_the_same_plain_graph(tmp_path: Path) -> None:
    torch.save(build("vovnet27_slim").state_dict(), tmp_path / "fresh.pth")
    room.export(tmp_path / "fresh.pth", tmp_path / "fresh.onnx", "vovnet27_slim")
    model = onnx.load(tmp_path / "fresh.onnx")
    assert {node.op_type for node in model.graph.node} <= room.EXPECTED_OPS


def test_a_fixed_batch_size_is_written_into_the_model(weights: Weights, tmp_path: Path) -> None:
    done = stage(tmp_path, weights(SLIM), "v.onnx", "--arch", SLIM, "--batch-size", "4")
    assert done.returncode == 0, done.stderr
    model = onnx.load(tmp_path / "v.onnx")
    assert shape_of(model.graph.input[0]) == [4, 3, 224, 224]
    assert shape_of(model.graph.output[0]) == [4, CLASSES]
    assert answers(tmp_path / "v.onnx", np.zeros((4, 3, 224, 224), np.float32)).shape == (4, 11)


def test_a_uint8_model_answers_pixels_as_torch_answers_their_normalised_tensor(
    weights: Weights, tmp_path: Path
) -> None:
    target = tmp_path / "pixels.onnx"
    exported = room.export(weights(SLIM), target, SLIM, input_kind="uint8")
    assert exported.relative < 1e-5
    model = onnx.load(target)
    assert shape_of(model.graph.input[0]) == ["batch", 224, 224, 3]
    assert model.graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert model.opset_import[0].version == 11
    # Black and white to the edge: there a mean folded into the bias would show.
    pixels = torch.randint(0, 256, (3, 224, 224, 3), dtype=torch.uint8)
    pixels[1], pixels[2] = 0, 255
    tensors = normalize(pixels.permute(0, 3, 1, 2) / 255, list(MEAN), list(STD))
    expected = torch_answers(weights(SLIM), SLIM, tensors)
    assert_same(answers(target, pixels.numpy()), expected)


@pytest.mark.parametrize(
    ("settings", "flags"),
    [
        ({}, ()),
        ({"input_kind": "uint8"}, ("--input", "uint8")),
        ({"batch_size": 2}, ("--batch-size", "2")),
    ],
)
def test_the_same_checkpoint_gives_the_same_bytes_in_any_process_folder_and_name(
    settings: dict[str, Any], flags: tuple[str, ...], weights: Weights, tmp_path: Path
) -> None:
    first, folder = tmp_path / "here.onnx", tmp_path / "and over there"
    room.export(weights(SLIM), first, SLIM, **settings)
    folder.mkdir()
    (folder / "other.pth").write_bytes(weights(SLIM).read_bytes())
    done = stage(folder, "other.pth", "b c.onnx", "--arch", SLIM, *flags)
    assert done.returncode == 0, done.stderr
    model = first.read_bytes()
    assert (folder / "b c.onnx").read_bytes() == model
    assert str(tmp_path).encode() not in model
    assert b"here" not in model


def test_the_same_weights_in_another_kind_of_file_give_the_same_bytes(
    slim_model: Path, weights: Weights, tmp_path: Path
) -> None:
    plain = tmp_path / "plain.pth"
    torch.save({"state_dict": checkpoint.load(weights(SLIM), SLIM).state_dict, "epoch": 1}, plain)
    room.export(plain, tmp_path / "v.onnx", SLIM)
    assert (tmp_path / "v.onnx").read_bytes() == slim_model.read_bytes()


def test_the_verdict_and_the_record_say_what_was_made(weights: Weights, tmp_path: Path) -> None:
    done = stage(tmp_path, weights("vovnet39"), "v.onnx", "--quiet")
    assert done.returncode == 0
    assert done.stderr == ""  # no warning of torch, ONNX Runtime or the exporter
    assert len(done.stdout.splitlines()) == 1
    for words in ("OK: vovnet39, ", " 11 classes", "not the published checkpoint (md5 ",
                  "greatest difference to torch ", "-> v.onnx"):  # fmt: skip
        assert words in done.stdout
    record = json.loads((tmp_path / "v.onnx.record.json").read_text())
    assert record["status"] == "complete"
    parameters = 22_600_296 - (1000 - CLASSES) * 1025
    assert record["counts"] == {"parameters": parameters, "classes": CLASSES}
    assert record["details"]["difference_to_torch"]["relative"] < 1e-5
    assert f"{parameters:,} parameters" in done.stdout


def test_a_model_that_answers_otherwise_fails_and_leaves_no_file(
    weights: Weights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slightly_wrong(network: VoVNet, *rest: object) -> bytes:
        network.stem[0].weight.data.mul_(1.001)  # type: ignore[operator]
        return write(network, *rest)  # type: ignore[arg-type]

    write = room._to_onnx
    monkeypatch.setattr(room, "_to_onnx", slightly_wrong)
    target = tmp_path / "v.onnx"
    with pytest.raises(PipelineError, match=r"differ by .* \(relative .*, allowed 1e-04\)"):
        room.export(weights(SLIM), target, SLIM)
    assert list(tmp_path.iterdir()) == []
    target.write_bytes(b"the good one of before")
    with pytest.raises(PipelineError):
        room.export(weights(SLIM), target, SLIM)
    assert target.read_bytes() == b"the good one of before"


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_graph_that_keeps_its_batch_norm_is_refused(
    weights: Weights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = room.torch.onnx.export  # type: ignore[attr-defined]

    def unfolded(*arguments: object, **settings: object) -> None:
        settings["training"] = torch.onnx.TrainingMode.PRESERVE
        settings["do_constant_folding"] = False
        network = arguments[0]
        assert isinstance(network, nn.Module)
        network.train()
        write(*arguments, **settings)

    monkeypatch.setattr(torch.onnx, "export", unfolded)
    with pytest.raises(PipelineError, match="BatchNormalization"):
        room.export(weights(SLIM), tmp_path / "v.onnx", SLIM)
    assert list(tmp_path.iterdir()) == []


def test_another_opset_than_asked_for_is_refused(
    weights: Weights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "OPSET", 13)
    monkeypatch.setattr(room, "_check_graph", check_for_opset_11)
    with pytest.raises(PipelineError, match=r"opset .*13.*, not 11"):
        room.export(weights(SLIM), tmp_path / "v.onnx", SLIM)
    assert list(tmp_path.iterdir()) == []


def check_for_opset_11(data: bytes) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(room, "OPSET", 11)
        CHECK_GRAPH(data)


CHECK_GRAPH = room._check_graph


def test_weights_that_overflow_are_refused(weights: Weights, tmp_path: Path) -> None:
    state = checkpoint.load(weights(SLIM), SLIM).state_dict
    for key in state:
        if key.endswith("/conv.weight"):
            state[key] = state[key] * 1e6
    huge = tmp_path / "huge.pth"
    torch.save(state, huge)
    with pytest.raises(PipelineError, match="NaN or infinity"):
        room.export(huge, tmp_path / "v.onnx", SLIM)
    assert list(tmp_path.iterdir()) == [huge]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("missing.pth", "v.onnx"), 1, "missing.pth: no such file; --fetch gets"),
        (("good.pth", "no/such/folder/v.onnx"), 1, "the folder no/such/folder does not exist"),
        (("good.pth", "."), 1, ". is a folder; give the result another name"),
        ((".", "v.onnx"), 1, "is a folder; give a checkpoint"),
        (("good.pth", "good.pth"), 1, "good.pth is the input good.pth itself"),
        (("good.pth", "link.pth"), 1, "link.pth is the input good.pth itself"),
        (("bad.pth", "v.onnx"), 1, "bad.pth: is not a PyTorch checkpoint"),
        (("good.pth", "v.onnx"), 1, "is no vovnet39 but a vovnet27_slim; say so with --arch"),
        (("good.pth", "v.onnx", "--arch", "vovnet93"), 2, "did you mean vovnet39?"),
        (("good.pth", "v.onnx", "--batch-size", "0"), 2, "0 is not a whole number"),
        (("good.pth", "v.onnx", "--input", "int8"), 2, "not one of float32, uint8"),
        (("good.pth", "v.onnx", "--bacth-size=2"), 2, "did you mean --batch-size?"),
        (("good.pth",), 2, "required: ONNX"),
        ((), 2, "required: WEIGHTS, ONNX"),
    ],
)
def test_a_users_error_is_one_line_and_leaves_everything_as_it_was(
    arguments: tuple[str, ...], code: int, words: str, weights: Weights, tmp_path: Path
) -> None:
    (tmp_path / "good.pth").symlink_to(weights(SLIM))
    os.link(weights(SLIM), tmp_path / "link.pth")
    (tmp_path / "bad.pth").write_text("val_1.JPEG 3\n")
    before = sorted(tmp_path.iterdir())
    done = stage(tmp_path, *arguments)
    assert done.returncode == code
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert words in line
    assert sorted(tmp_path.iterdir()) == before


def test_the_help_shows_the_docstring_and_an_example(tmp_path: Path) -> None:
    done = stage(tmp_path, "--help")
    assert done.returncode == 0
    assert "Turn a VoVNet checkpoint into ONNX" in done.stdout
    assert "vovnet39_pth2onnx.py vovnet39_torchvision.pth vovnet39.onnx" in done.stdout
