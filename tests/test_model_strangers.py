"""Models from strangers: one line each, nothing read beyond its place, nothing trusted unseen."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from pipeline import engines
from pipeline.engines import Settings, cache, ir_file, model_file
from pipeline.engines.cache import Cache
from pipeline.errors import PipelineError
from tests import models
from tests.conftest import PROJECT
from tests.test_engines import each_engine, save_ir

Change = Callable[[ModelProto], Any]


def refusal(path: Path, engine: str = "auto") -> str:
    """Return the one line that refuses the model."""
    with pytest.raises(PipelineError) as caught:
        engines.load(engine, path, Settings(1))
    line = str(caught.value)
    assert "\n" not in line
    assert len(line) < 1000
    return line


def changed(path: Path, change: Change, **traits: Any) -> Path:
    """Write a small classifier to `path` after `change`; return `path`."""
    models.save_classifier(path, **{"size": 32, "classes": 7, **traits})
    model = onnx.load_model(path, load_external_data=False)
    change(model)
    path.write_bytes(model.SerializeToString())
    return path


def set_external(key: str, value: str | None) -> Change:
    def change(model: ModelProto) -> None:
        entries = model.graph.initializer[0].external_data
        left = [(e.key, e.value) for e in entries if e.key != key]
        del entries[:]
        for name, word in [*left, *([] if value is None else [(key, value)])]:
            entries.add(key=name, value=word)

    return change


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("location", "/etc/passwd", "outside its folder, in /etc/passwd"),
        ("location", "../secret", "outside its folder"),
        ("location", "a/../../secret", "outside its folder"),
        ("location", "link", "outside its folder, in link"),
        ("location", "folder", "lacks its data"),
        ("location", "nothing", "lacks its data"),
        ("location", "loop", "which is no file"),
        ("location", "pipe", "lacks its data"),
        ("location", "x" * 5000, "which is no file"),
        ("location", "a\0b", "which is no file"),
        ("location", "", "names no file"),
        ("location", None, "names no file"),
        ("offset", "-1", "at no place"),
        ("offset", "1e3", "at no place"),
        ("offset", "9" * 30, "at no place"),
        ("offset", str(2**50), "and .* needs 1125899906"),
        ("offset", "\u0663", "at no place"),
        ("length", str(2**50), "its shape takes 1344"),
        ("length", "4", "its shape takes 1344"),
    ],
)
def test_external_data_lies_beside_the_model_and_is_all_there(
    key: str, value: str | None, said: str, tmp_path: Path
) -> None:
    folder = tmp_path / "a model"
    (folder / "folder").mkdir(parents=True)
    (tmp_path / "secret").write_bytes(bytes(9999))
    (folder / "link").symlink_to(tmp_path / "secret")
    (folder / "loop").symlink_to("loop")
    os.mkfifo(folder / "pipe")
    path = changed(folder / "m.onnx", set_external(key, value), external_data=True)
    with pytest.raises(PipelineError, match=said) as caught:
        model_file.identify(path)
    assert len(str(caught.value)) < 500


def test_external_data_that_is_cut_short_is_refused(tmp_path: Path) -> None:
    path = models.save_classifier(tmp_path / "m.onnx", size=32, external_data=True)
    os.truncate(tmp_path / "m.onnx.data", 100)
    assert "m.onnx.data has 100 bytes, and" in refusal(path)


def test_tensors_may_share_their_external_data(tmp_path: Path) -> None:
    def share(model: ModelProto) -> None:
        weight = model.graph.initializer[0]
        bias = model.graph.initializer[1]
        del bias.external_data[:]
        for entry in weight.external_data:
            bias.external_data.add(
                key=entry.key, value="28" if entry.key == "length" else entry.value
            )

    path = changed(tmp_path / "m.onnx", share, external_data=True)
    assert model_file.identify(path).companions == (tmp_path / "m.onnx.data",)
    assert engines.load("onnxruntime", path, Settings(1))


def hide(model: ModelProto, where: str) -> None:
    """Put a tensor that lies outside the folder into `where` of the model."""
    tensor = TensorProto(name="x", data_type=TensorProto.FLOAT, dims=[1])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../secret")
    node = helper.make_node("Constant", [], ["hidden"], value=tensor)
    graph = helper.make_graph([node], "inner", [], [])
    if where == "attribute":
        model.graph.node.append(node)
    elif where == "subgraph":
        model.graph.node.append(
            helper.make_node("If", ["c"], ["r"], then_branch=graph, else_branch=graph)
        )
    elif where == "sparse":
        sparse = model.graph.sparse_initializer.add()
        sparse.values.CopyFrom(tensor)
        sparse.indices.CopyFrom(numpy_helper.from_array(np.zeros(1, np.int64)))
    elif where == "training":
        model.training_info.add().algorithm.CopyFrom(graph)
    elif where == "tensors":
        model.graph.node[0].attribute.append(helper.make_attribute("many", [tensor]))
    else:
        opsets = [helper.make_opsetid("", 11)]
        model.functions.append(helper.make_function("d", "f", [], ["hidden"], [node], opsets))


@pytest.mark.parametrize(
    "where", ["attribute", "subgraph", "sparse", "training", "tensors", "function"]
)
def test_a_tensor_outside_the_folder_is_found_wherever_it_hides(where: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(bytes(99))
    (tmp_path / "in").mkdir()
    path = changed(tmp_path / "in/m.onnx", lambda model: hide(model, where))
    assert "outside its folder, in ../secret" in refusal(path)


def dims(*sizes: int) -> Change:
    def change(model: ModelProto) -> None:
        model.graph.initializer[0].dims[:] = sizes

    return change


def shape(*sizes: int | str | None, name: str = "input") -> Change:
    def change(model: ModelProto) -> None:
        value = getattr(model.graph, name)[0]
        element = value.type.tensor_type.elem_type
        value.CopyFrom(helper.make_tensor_value_info(value.name, element, sizes))

    return change


def node(number: int, **fields: Any) -> Change:
    def change(model: ModelProto) -> None:
        for name, value in fields.items():
            if isinstance(value, list):
                getattr(model.graph.node[number], name)[:] = value
            else:
                setattr(model.graph.node[number], name, value)

    return change


def element(data_type: int) -> Change:
    def change(model: ModelProto) -> None:
        model.graph.initializer[0].data_type = data_type

    return change


def typed_input(kind: str) -> Change:
    def change(model: ModelProto) -> None:
        value = model.graph.input[0]
        name = value.name
        inner = helper.make_tensor_type_proto(TensorProto.FLOAT, [1, 3, 32, 32])
        made = {
            "string": helper.make_tensor_type_proto(TensorProto.STRING, [1, 3, 32, 32]),
            "sequence": helper.make_sequence_type_proto(inner),
            "optional": helper.make_optional_type_proto(inner),
            "none": onnx.TypeProto(),
        }[kind]
        value.CopyFrom(helper.make_value_info(name, made))

    return change


def fill_ram(model: ModelProto) -> None:
    size = numpy_helper.from_array(np.array([2**36], np.int64), "much")
    model.graph.initializer.append(size)
    model.graph.node.append(helper.make_node("ConstantOfShape", ["much"], ["filled"]))
    model.graph.output.append(helper.make_tensor_value_info("filled", TensorProto.FLOAT, None))


ODD: dict[str, Change] = {
    "a weight of 2**40 values": dims(2**40),
    "a weight of 2**62 x 2**62 values": dims(2**62, 2**62),
    "a weight of negative size": dims(-1, 7),
    "a weight of no size": dims(0),
    "a weight without a shape": dims(),
    "a weight of another shape": dims(7, 48),
    "a weight of no type": element(0),
    "a weight of an unknown type": element(99),
    "a weight of strings": element(TensorProto.STRING),
    "a weight of float64": element(TensorProto.DOUBLE),
    "an input of 2**40 values": shape(1, 3, 2**20, 2**20),
    "an input of 2**62 values": shape(2**31, 2**31, 1, 1),
    "an input of negative size": shape(1, 3, -32, 32),
    "a negative batch": shape(-1, 3, 32, 32),
    "a batch of 0": shape(0, 3, 32, 32),
    "an input without channels": shape("batch", 0, 32, 32),
    "an input without size": shape("batch", 3, 0, 32),
    "an input without dimensions": shape(),
    "an input of one dimension": shape(3072),
    "an input of nothing known": shape(None, None, None, None),
    "an input of another size": shape("batch", 3, 2, 2),
    "another number of channels": shape("batch", 5, 32, 32),
    "no rank": lambda model: model.graph.input[0].type.tensor_type.ClearField("shape"),
    "an input of strings": typed_input("string"),
    "an input of sequences": typed_input("sequence"),
    "an optional input": typed_input("optional"),
    "an input of no type": typed_input("none"),
    "no input": lambda model: model.graph.ClearField("input"),
    "no output": lambda model: model.graph.ClearField("output"),
    "no node": lambda model: model.graph.ClearField("node"),
    "no graph": lambda model: model.ClearField("graph"),
    "no opset": lambda model: model.ClearField("opset_import"),
    "an output of nothing": lambda model: setattr(model.graph.output[0], "name", "nowhere"),
    "a node that is its own input": node(0, input=["fields"]),
    "nodes in a ring": node(0, input=["class"]),
    "a node without its input": node(1, input=["nowhere"]),
    "a node without any input": node(1, input=[]),
    "a node without any output": node(1, output=[]),
    "an unknown operator": node(1, op_type="NoSuchOperator"),
    "an operator of a library": node(1, domain="com.example.custom", op_type="Anything"),
    "an operator without a name": node(1, op_type=""),
    "two values of one name": node(1, output=["fields"]),
    "an opset of the future": lambda model: setattr(model.opset_import[0], "version", 9999),
    "an opset below 1": lambda model: setattr(model.opset_import[0], "version", -5),
    "a version of the future": lambda model: setattr(model, "ir_version", 2**40),
    "two weights of one name": lambda model: setattr(model.graph.initializer[1], "name", "weight"),
    "a constant of 2**36 values": fill_ram,
}

LOAD = """
import resource, sys
from pathlib import Path
resource.setrlimit(resource.RLIMIT_AS, (12 << 30, 12 << 30))
from cli import door
from pipeline.errors import PipelineError
from pipeline import engines
from pipeline.runner import loading
engine, *paths = sys.argv[1:]
for path in paths:
    print("begin", flush=True)
    try:
        loading.load(engine, Path(path), engines.Settings(1), 1)
    except PipelineError as error:
        print("refused", error, flush=True)
    except MemoryError:
        print("refused out of memory", flush=True)
    except Exception as error:
        print("raised", type(error).__name__, " ".join(str(error).split()), flush=True)
    else:
        print("loaded", flush=True)
"""


def load_all(engine: str, paths: list[Path]) -> list[str]:
    """Return what comes of loading each model and running it once, in a process of its own."""
    told: list[str] = []
    while len(told) < len(paths):
        ran = subprocess.run(
            [sys.executable, "-c", LOAD, engine, *map(str, paths[len(told) :])],
            cwd=PROJECT,
            capture_output=True,
            text=True,
            timeout=240,
        )
        lines = ran.stdout.splitlines()
        ends = [line for line in lines if line != "begin"]
        told += ends
        if ran.returncode:
            assert lines, ran.stderr
            told.append(f"died {ran.returncode} {ran.stderr[-300:]}")
    return told


@each_engine
def test_an_odd_model_is_one_line_and_kills_nothing(engine: str, tmp_path: Path) -> None:
    paths = [changed(tmp_path / f"{n}.onnx", change) for n, change in enumerate(ODD.values())]
    told = dict(zip(ODD, load_all(engine, paths), strict=True))
    print("\n".join(f"{name}: {words}" for name, words in told.items()))
    assert not {name: words for name, words in told.items() if not words.startswith("refused")}


@each_engine
def test_damaged_models_kill_no_engine(engine: str, tmp_path: Path) -> None:
    seed = int.from_bytes(os.urandom(3), "little")
    print(f"seed {seed}")
    random = Random(seed)
    whole = models.save_classifier(tmp_path / "m.onnx", size=32, classes=3).read_bytes()
    plain = whole.index(b"weight", whole.index(b"classifier"))
    paths = []
    for number in range(60):
        data = bytearray(whole)
        for _ in range(random.choice((1, 2, 5))):
            place = random.randrange(len(data)) if random.random() < 0.3 else None
            data[random.randrange(plain) if place is None else place] = random.randrange(256)
        paths.append(tmp_path / f"{number}.onnx")
        paths[-1].write_bytes(data)
    told = load_all(engine, paths)
    assert not [words for words in told if not words.startswith(("refused", "loaded"))]


BOMB = b"""<?xml version="1.0"?><!DOCTYPE net [<!ENTITY a "lol">%b]><net name="&z;"/>"""
LAUGHS = b"".join(
    b'<!ENTITY %c "%b">' % (n + 1, b"&%c;" % n * 10) for n in range(ord("a"), ord("z"))
)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (BOMB % LAUGHS, "has a document type"),
        (b'<!DOCTYPE n [<!ENTITY z SYSTEM "file:///etc/passwd">]><net>&z;</net>', "document type"),
        (b'<!DOCTYPE n SYSTEM "http://127.0.0.1/x"><net/>', "has a document type"),
        (b"<net>" + b"<a>" * 1_000_000, "nested more deeply than any IR"),
        (b"<net>" + b"<a/>" * 1000, "broken XML"),
        (b"<?xml version='1.0' encoding='no-such'?><net/>", "broken XML"),
        (b"<?xml version='1.0' encoding='utf-16'?><net/>", "broken XML"),
        (b"<net>\0</net>", "broken XML"),
        (b'<net><data offset="8" size="9"/></net>', "needs 17 bytes of weights"),
        (b'<net><data offset="-8" size="9"/></net>', "at no place"),
        (b'<net><data offset="%b" size="1"/></net>' % (b"9" * 5000), "at no place"),
    ],
)
def test_xml_from_a_stranger_is_refused_unexpanded(
    content: bytes, said: str, tmp_path: Path
) -> None:
    path = tmp_path / "m.xml"
    path.write_bytes(content)
    (tmp_path / "m.bin").write_bytes(bytes(16))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert said in refusal(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 << 10


@pytest.mark.parametrize("head", [b"<net>", b"\x08\x08"])
def test_a_file_larger_than_any_model_is_refused_unread(head: bytes, tmp_path: Path) -> None:
    path = tmp_path / "m.xml"
    path.write_bytes(head)
    (tmp_path / "m.bin").write_bytes(b"x")
    os.truncate(path, 1 << 40)
    assert "has more than" in refusal(path)


def test_the_weights_of_an_ir_lie_in_its_folder(tmp_path: Path) -> None:
    source = models.save_classifier(tmp_path / "m.onnx", size=32)
    ir = save_ir(source, tmp_path / "in/ir.xml")
    (tmp_path / "in/ir.bin").rename(tmp_path / "elsewhere.bin")
    (tmp_path / "in/ir.bin").symlink_to(tmp_path / "elsewhere.bin")
    assert "keeps its weights outside its folder" in refusal(ir)


def test_an_odd_ir_is_one_line_and_kills_nothing(tmp_path: Path) -> None:
    source = models.save_classifier(tmp_path / "m.onnx", size=32, classes=7)
    whole = save_ir(source, tmp_path / "ir.xml").read_text()
    weights = (tmp_path / "ir.bin").read_bytes()
    changes = {
        "no layers": ("<layers>", "<laye>", "</layers>", "</laye>"),
        "an unknown layer": ('type="Parameter"', 'type="NoSuchLayer"'),
        "a huge input": ('shape="?,3,32,32"', 'shape="?,3,1048576,1048576"'),
        "a negative input": ('shape="?,3,32,32"', 'shape="?,3,-7,32"'),
        "an input of nothing": ('shape="?,3,32,32"', 'shape="?,0,32,32"'),
        "a weight of another shape": ('shape="7, 48"', 'shape="7, 9999999"'),
        "a shape of words": ('shape="7, 48"', 'shape="many"'),
        "an unknown type": ('element_type="f32"', 'element_type="f31"'),
        "an edge to nowhere": ('to-layer="', 'to-layer="9'),
        "edges in a ring": ('from-layer="0"', 'from-layer="4"'),
        "an unknown version": ('version="11"', 'version="9999"'),
    }
    paths = []
    for number, words in enumerate(changes.values()):
        text = whole
        for old, new in zip(words[::2], words[1::2], strict=True):
            assert old in text, old
            text = text.replace(old, new)
        paths.append(tmp_path / f"{number}.xml")
        paths[-1].write_text(text)
        paths[-1].with_suffix(".bin").write_bytes(weights)
    told = dict(zip(changes, load_all("openvino", paths), strict=True))
    print(told)
    assert not {n: words for n, words in told.items() if not words.startswith("refused")}


def test_an_ir_is_read_without_being_held(tmp_path: Path) -> None:
    path = tmp_path / "m.xml"
    layer = b'<layer id="1" name="n" type="FakeQuantize" version="opset1"/>' * 1000
    with path.open("wb") as file:
        file.write(b"<net><layers>")
        for _ in range(400):
            file.write(layer)
        file.write(b"</layers></net>")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert ir_file.examine(path, 0)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 10 << 10


def test_an_entry_under_another_name_is_not_taken(tmp_path: Path) -> None:
    kept, names = Cache(tmp_path), ("a" * 64, "b" * 64)
    assert kept.keep(names[0], b"compiled") == ""
    found = kept.find(names[0])
    assert found is not None
    assert bytes(found) == b"compiled"
    (tmp_path / names[0]).rename(tmp_path / names[1])
    assert kept.find(names[1]) is None


def test_an_entry_that_others_may_have_written_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, name = tmp_path / "cache", "a" * 64
    kept = Cache(folder)
    assert kept.keep(name, b"compiled") == ""
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / name).stat().st_mode & 0o077 == 0
    (folder / name).chmod(0o664)
    assert kept.find(name) is None
    (folder / name).chmod(0o600)
    assert kept.find(name) is not None
    (folder / name).rename(tmp_path / "entry")
    (folder / name).symlink_to(tmp_path / "entry")
    assert kept.find(name) is None
    (folder / name).unlink()
    os.mkfifo(folder / name)
    assert kept.find(name) is None
    (folder / name).unlink()
    assert kept.keep(name, b"compiled") == ""
    folder.chmod(0o777)
    assert kept.find(name) is None
    assert "everybody may write to it" in kept.keep(name, b"compiled")
    folder.chmod(0o755)
    assert kept.find(name) is not None
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 7)
    monkeypatch.setattr(cache, "_ROOT", os.getuid() + 8)
    assert kept.find(name) is None
    assert "belongs to another user" in kept.keep(name, b"compiled")


def test_a_link_of_the_users_own_leads_to_the_cache(tmp_path: Path) -> None:
    (tmp_path / "large disk").mkdir(mode=0o700)
    (tmp_path / "cache").symlink_to("large disk")
    kept = Cache(tmp_path / "cache")
    assert kept.keep("a" * 64, b"compiled") == ""
    assert kept.find("a" * 64) is not None
    assert [path.name for path in (tmp_path / "large disk").iterdir()] == ["a" * 64]
