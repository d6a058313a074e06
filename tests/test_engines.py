"""Engines: models told by content, outputs equal to the reference, precision and batch in force."""

from __future__ import annotations

import dataclasses
import importlib
import os
import re
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from pipeline import engines
from pipeline.engines import Settings, cache, model_file
from pipeline.engines.cache import Cache
from pipeline.errors import PipelineError
from tests import models

ENGINES = ("onnxruntime", "openvino")
each_engine = pytest.mark.parametrize("engine", ENGINES)


def pixels(count: int, size: int = 32, seed: int = 0) -> NDArray[Any]:
    return np.random.default_rng(seed).random((count, 3, size, size), dtype=np.float32)


def save_ir(onnx_path: Path, ir_path: Path) -> Path:
    import openvino

    openvino.save_model(openvino.convert_model(onnx_path), ir_path, compress_to_fp16=False)
    return ir_path


def test_the_engines_of_the_requirements_and_the_cards_are_found() -> None:
    assert set(engines.names()) == {*ENGINES, "ascend"}


@each_engine
@pytest.mark.parametrize(
    "traits",
    [
        {},
        {"batch": None},
        {"batch": 4},
        {"batch": "N", "input_name": "x:0 y", "output_name": "out/1", "classes": 7},
        {"size": 240},
        {"size": 384, "classes": 1001},
        {"dtype": "float16"},
        {"extra_outputs": True},
        {"external_data": True},
    ],
)
def test_outputs_equal_the_reference_implementation(
    engine: str, traits: dict[str, Any], tmp_path: Path
) -> None:
    model = models.save_classifier(tmp_path / "a model.onnx", **{"size": 32, **traits})
    batch = pixels(4, traits.get("size", 32)).astype(traits.get("dtype", "float32"))
    session = engines.load(engine, model, Settings(4))
    wanted = models.expected(model, batch)
    for request in range(session.requests):
        got = session.infer(request, batch)
        assert len(got) == len(session.outputs) == len(wanted)
        for ours, theirs in zip(got, wanted, strict=True):
            assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
            np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)
        started, ended = session.executed[request]
        assert 0 < started < ended


@each_engine
def test_a_uint8_input_with_channels_last_is_taken_as_it_is(engine: str, tmp_path: Path) -> None:
    model = models.save_classifier(tmp_path / "m.onnx", size=32, dtype="uint8")
    batch = np.random.default_rng(3).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    session = engines.load(engine, model, Settings(2))
    assert session.inputs[0].dtype == np.uint8
    (got,) = session.infer(0, batch)
    np.testing.assert_allclose(got, models.expected(model, batch)[0], rtol=1e-4, atol=1e-2)


@each_engine
def test_outputs_of_one_batch_stay_when_the_next_one_runs(engine: str, tmp_path: Path) -> None:
    model = models.save_classifier(tmp_path / "m.onnx", size=32, extra_outputs=True)
    session = engines.load(engine, model, Settings(2))
    first = session.infer(0, pixels(2, seed=1))
    kept = [output.copy() for output in first]
    session.infer(0, pixels(2, seed=2))
    for now, then in zip(first, kept, strict=True):
        np.testing.assert_array_equal(now, then)


@each_engine
def test_an_onnx_model_named_om_runs(engine: str, tmp_path: Path) -> None:
    model = models.save_classifier(tmp_path / "vovnet39_bs1.om", size=32, external_data=True)
    (got,) = engines.load(engine, model, Settings(1)).infer(0, pixels(1))
    np.testing.assert_allclose(got, models.expected(model, pixels(1))[0], rtol=1e-4, atol=1e-4)


def test_an_ir_model_runs_in_openvino_whatever_its_name(tmp_path: Path) -> None:
    source = models.save_classifier(tmp_path / "m.onnx", size=32)
    ir = save_ir(source, tmp_path / "ir.xml")
    renamed = ir.rename(tmp_path / "ir.om")
    (got,) = engines.load("auto", renamed, Settings(3)).infer(0, pixels(3))
    np.testing.assert_allclose(got, models.expected(source, pixels(3))[0], rtol=1e-4, atol=1e-4)
    with pytest.raises(PipelineError, match=r"onnxruntime does not run .* OpenVINO IR"):
        engines.load("onnxruntime", renamed, Settings(3))
    (tmp_path / "ir.bin").unlink()
    with pytest.raises(PipelineError, match=r"lacks its weights .*ir\.bin"):
        engines.load("auto", renamed, Settings(3))


def test_auto_takes_openvino_and_else_onnxruntime(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = models.save_classifier(tmp_path / "m.onnx", size=32)
    assert engines.load("auto", model, Settings(1)).engine == "openvino"
    import_module = importlib.import_module

    def without(missing: tuple[str, ...]) -> None:
        def importing(name: str) -> Any:
            if name in missing:
                raise ImportError(f"No module named {name!r}")
            return import_module(name)

        monkeypatch.setattr(importlib, "import_module", importing)

    without(("openvino",))
    assert engines.load("auto", model, Settings(1)).engine == "onnxruntime"
    with pytest.raises(PipelineError, match="openvino cannot be imported"):
        engines.load("openvino", model, Settings(1))
    without(ENGINES)
    with pytest.raises(PipelineError, match="no engine for a model of the kind ONNX"):
        engines.load("auto", model, Settings(1))


@each_engine
def test_fp32_and_threads_are_in_force(engine: str, tmp_path: Path) -> None:
    model = models.save_classifier(tmp_path / "m.onnx", size=32)
    session = engines.load(engine, model, Settings(1, threads=1))
    assert (session.precision, session.threads) == ("fp32", 1)
    assert engines.load(engine, model, Settings(1, requests=1)).requests == 1


def test_openvino_keeps_fp32_where_the_processor_would_offer_less(tmp_path: Path) -> None:
    """Products that bfloat16 and float16 round away are still there."""
    weight = numpy_helper.from_array(np.full((64, 64), 1 + 2**-12, np.float32), "w")
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 64])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 64])
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    graph = helper.make_graph([node], "g", [x], [y], [weight])
    path = tmp_path / "m.onnx"
    opsets = [helper.make_opsetid("", 11)]
    onnx.save_model(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    (got,) = engines.load("openvino", path, Settings(1)).infer(0, np.ones((1, 64), np.float32))
    np.testing.assert_allclose(got, 64 * (1 + 2**-12), rtol=1e-6)


@each_engine
def test_a_fixed_batch_of_another_size_is_refused(engine: str, tmp_path: Path) -> None:
    model = models.save_classifier(tmp_path / "m.onnx", size=32, batch=4)
    with pytest.raises(PipelineError, match="batch is fixed to 4, and -batch_size is 16"):
        engines.load(engine, model, Settings(16))


@each_engine
def test_models_without_exactly_one_input_are_refused(engine: str, tmp_path: Path) -> None:
    model = models.save_two_inputs(tmp_path / "two.onnx")
    with pytest.raises(PipelineError, match=r"has 2 inputs \(a, b\)"):
        engines.load(engine, model, Settings(1))


@each_engine
def test_a_model_of_unfixed_picture_size_is_refused(engine: str, tmp_path: Path) -> None:
    path = models.save_classifier(tmp_path / "m.onnx", size=32)
    model = onnx.load_model(path)
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "height"
    onnx.save_model(model, path)
    with pytest.raises(PipelineError, match="not fixed but for the batch"):
        engines.load(engine, path, Settings(1))


def test_an_offline_model_says_that_it_needs_a_card(tmp_path: Path) -> None:
    model = tmp_path / "vovnet39_bs1.onnx"
    model.write_bytes((0x444F4D49).to_bytes(4, "little") + bytes(252))
    with pytest.raises(
        PipelineError, match=r"an om needs an Ascend card .* or give the .onnx file"
    ):
        engines.load("auto", model, Settings(1))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"PK\x03\x04" + bytes(100), "PyTorch checkpoint"),
        (b"<html><body/></html>", "root <html>"),
        (b"<?xml version='1.0'?><net", "broken XML"),
        (b"just some words\n", "neither ONNX nor OpenVINO IR"),
        (bytes(5000), "neither ONNX nor OpenVINO IR"),
        (np.random.default_rng(0).bytes(5000), "neither ONNX nor OpenVINO IR"),
        (b"\x08", "neither ONNX nor OpenVINO IR"),
        (b"\x08\x08", "neither ONNX nor OpenVINO IR"),
    ],
)
def test_what_is_no_model_is_told_in_one_line(content: bytes, said: str, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(PipelineError, match=said) as raised:
        engines.load("auto", path, Settings(1))
    assert "\n" not in str(raised.value)


def test_a_model_that_is_missing_or_a_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match="does not exist"):
        model_file.identify(tmp_path / "nothing.onnx")
    with pytest.raises(PipelineError, match="is not a file"):
        model_file.identify(tmp_path)


@each_engine
def test_a_truncated_onnx_model_is_refused_at_every_length(engine: str, tmp_path: Path) -> None:
    whole = models.save_classifier(tmp_path / "m.onnx", size=32, classes=10).read_bytes()
    path = tmp_path / "short.onnx"
    for length in [*range(1, 200, 7), *range(200, len(whole) - 1, 501)]:
        path.write_bytes(whole[:length])
        with pytest.raises(PipelineError) as raised:
            engines.load(engine, path, Settings(1))
        assert "\n" not in str(raised.value)


def test_external_data_must_be_there_and_below_the_models_folder(tmp_path: Path) -> None:
    path = models.save_classifier(tmp_path / "m.onnx", size=32, external_data=True)
    assert model_file.identify(path).companions == (tmp_path / "m.onnx.data",)
    inner = tmp_path / "inner"
    inner.mkdir()
    shutil.copy(path, inner)
    with pytest.raises(PipelineError, match="lacks its data"):
        model_file.identify(inner / "m.onnx")
    model = onnx.load_model(path, load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = f"..{os.sep}m.onnx.data"
    (inner / "m.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(PipelineError, match="outside its folder"):
        model_file.identify(inner / "m.onnx")


@each_engine
def test_a_model_the_engine_cannot_load_is_one_line(
    engine: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])
    graph = helper.make_graph([helper.make_node("NoSuchOp", ["x"], ["y"])], "g", [x], [x])
    graph.output[0].name = "y"
    path = tmp_path / "m.onnx"
    path.write_bytes(helper.make_model(graph, ir_version=8).SerializeToString())
    with pytest.raises(PipelineError, match=f"{engine} failed to load") as raised:
        engines.load(engine, path, Settings(1))
    assert "\n" not in str(raised.value)
    assert capfd.readouterr().err == ""


def test_an_unknown_precision_is_refused(tmp_path: Path) -> None:
    model = models.save_classifier(tmp_path / "m.onnx", size=32)
    with pytest.raises(PipelineError, match="has no precision bf16; it has fp32"):
        engines.load("onnxruntime", model, dataclasses.replace(Settings(1), precision="bf16"))


@each_engine
def test_cancel_ends_a_running_call_long_before_its_time(engine: str, tmp_path: Path) -> None:
    side = 1536
    weight = np.random.default_rng(0).normal(0, side**-0.5, (side, side)).astype(np.float32)
    nodes = [helper.make_node("MatMul", [f"x{i}", "w"], [f"x{i + 1}"]) for i in range(150)]
    value = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [side, side]) for n in ("x0", "")]
    value[1].name = f"x{len(nodes)}"
    graph = helper.make_graph(
        nodes, "g", value[:1], value[1:], [numpy_helper.from_array(weight, "w")]
    )
    path = tmp_path / "m.onnx"
    opsets = [helper.make_opsetid("", 11)]
    onnx.save_model(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    session = engines.load(engine, path, Settings(side))
    errors: list[BaseException] = []

    def run() -> None:
        try:
            session.infer(0, np.ones((side, side), np.float32))
        except PipelineError as error:
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    time.sleep(0.3)
    session.cancel()
    thread.join()
    assert len(errors) == 1


def has_bf16() -> bool:
    import openvino

    found: list[str] = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return "BF16" in found


def load_cached(model: Path, folder: Path, **changes: Any) -> engines.Session:
    settings = dataclasses.replace(Settings(2, cache=Cache(folder)), **changes)
    return engines.load("openvino", model, settings)


def blob_of(folder: Path) -> Path:
    """Return the one compiled model in the cache; what is known of the model is smaller."""
    return max(folder.iterdir(), key=lambda path: path.stat().st_size)


@pytest.mark.parametrize("traits", [{}, {"external_data": True}, {"dtype": "uint8"}])
def test_a_second_start_takes_the_compiled_model_from_the_cache(
    traits: dict[str, Any], tmp_path: Path
) -> None:
    model = models.save_classifier(tmp_path / "m.onnx", size=32, extra_outputs=True, **traits)
    shape = (2, 32, 32, 3) if "dtype" in traits else (2, 3, 32, 32)
    batch = (np.random.default_rng(3).random(shape) * 200).astype(traits.get("dtype", "float32"))
    first = load_cached(model, tmp_path / "cache")
    second = load_cached(model, tmp_path / "cache")
    assert (first.start, second.start) == ("compiled, then cached", "from the cache")
    assert (first.inputs, first.outputs) == (second.inputs, second.outputs)
    assert (first.threads, first.requests) == (second.threads, second.requests)
    for ours, theirs in zip(second.infer(0, batch), first.infer(0, batch), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_the_cache_goes_by_content_and_not_by_name(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    model = models.save_classifier(tmp_path / "m.onnx", size=32)
    load_cached(model, folder)
    (tmp_path / "elsewhere").mkdir()
    copy = shutil.copy(model, tmp_path / "elsewhere/named.om")
    assert load_cached(Path(copy), folder).start == "from the cache"
    models.save_classifier(model, size=32, seed=1)
    changed = load_cached(model, folder)
    assert changed.start == "compiled, then cached"
    (got,) = changed.infer(0, pixels(2))
    np.testing.assert_allclose(got, models.expected(model, pixels(2))[0], rtol=1e-4, atol=1e-4)


def test_other_data_beside_the_same_model_is_another_model(tmp_path: Path) -> None:
    model = models.save_classifier(tmp_path / "m.onnx", size=32, external_data=True)
    load_cached(model, tmp_path / "cache")
    data = tmp_path / "m.onnx.data"
    np.negative(np.fromfile(data, np.float32)).tofile(data)
    changed = load_cached(model, tmp_path / "cache")
    assert changed.start == "compiled, then cached"
    (got,) = changed.infer(0, pixels(2))
    np.testing.assert_allclose(got, models.expected(model, pixels(2))[0], rtol=1e-4, atol=1e-4)


def test_batch_threads_requests_and_precision_have_entries_of_their_own(tmp_path: Path) -> None:
    model = models.save_classifier(tmp_path / "m.onnx", size=32)
    changes: list[dict[str, Any]] = [{}, {"batch_size": 3}, {"threads": 1}, {"requests": 1}]
    changes += [{"precision": "bf16"}] if has_bf16() else []
    for change in changes:
        assert load_cached(model, tmp_path / "cache", **change).start == "compiled, then cached"
    for change in changes:
        session = load_cached(model, tmp_path / "cache", **change)
        assert session.start == "from the cache"
        assert session.precision == change.get("precision", "fp32")
        assert session.inputs[0].shape[0] == change.get("batch_size", 2)


def cut(blob: bytes) -> bytes:
    return blob[: len(blob) // 2]


def flip(blob: bytes) -> bytes:
    return blob[:1000] + bytes([blob[1000] ^ 1]) + blob[1001:]


def empty(blob: bytes) -> bytes:
    return b""


def shorten_to_a_byte(blob: bytes) -> bytes:
    return b"x"


@pytest.mark.parametrize("damage", [cut, flip, empty, shorten_to_a_byte])
def test_a_damaged_entry_is_compiled_anew(
    damage: Callable[[bytes], bytes], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "cache"
    model = models.save_classifier(tmp_path / "m.onnx", size=32)
    load_cached(model, folder)
    whole = blob_of(folder).read_bytes()
    for entry in folder.iterdir():
        entry.write_bytes(damage(entry.read_bytes()) if damage is not flip else entry.read_bytes())
    if damage is flip:
        blob_of(folder).write_bytes(flip(whole))
    assert load_cached(model, folder).start == "compiled, then cached"
    assert load_cached(model, folder).start == "from the cache"
    assert capfd.readouterr().err == ""


def test_an_entry_that_the_engine_refuses_is_compiled_anew(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    model = models.save_classifier(tmp_path / "m.onnx", size=32)
    load_cached(model, folder)
    assert Cache(folder).keep(blob_of(folder).name, b"no compiled model at all" * 9999) == ""
    session = load_cached(model, folder)
    assert session.start == "compiled, then cached"
    (got,) = session.infer(0, pixels(2))
    np.testing.assert_allclose(got, models.expected(model, pixels(2))[0], rtol=1e-4, atol=1e-4)


def test_a_cache_that_cannot_be_written_does_no_harm(tmp_path: Path) -> None:
    model = models.save_classifier(tmp_path / "m.onnx", size=32)
    (tmp_path / "file").write_text("in the way")
    session = load_cached(model, tmp_path / "file/cache")
    assert re.fullmatch(r"compiled, not cached \(.*file/cache: Not a directory\)", session.start)
    (got,) = session.infer(0, pixels(2))
    np.testing.assert_allclose(got, models.expected(model, pixels(2))[0], rtol=1e-4, atol=1e-4)


def test_an_entry_is_read_whole_or_not_at_all_while_others_write_it(tmp_path: Path) -> None:
    contents = [bytes([i]) * (100_000 + i) for i in range(4)]
    seen: list[bytes | None] = []

    def write(data: bytes) -> None:
        for _ in range(30):
            assert Cache(tmp_path).keep("a" * 64, data) == ""

    def read() -> None:
        for _ in range(100):
            found = Cache(tmp_path).find("a" * 64)
            seen.append(None if found is None else bytes(found))

    threads = [threading.Thread(target=write, args=(data,)) for data in contents]
    threads += [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(seen) <= {None, *contents}
    assert [path.name for path in tmp_path.iterdir()] == ["a" * 64]


def test_the_cache_drops_what_was_used_longest_ago_and_nothing_of_others(tmp_path: Path) -> None:
    kept = Cache(tmp_path, most_bytes=1000)
    (tmp_path / "holiday.jpg").write_bytes(bytes(5000))
    names = [letter * 64 for letter in "abcd"]
    for age, name in enumerate(names[:3]):
        assert kept.keep(name, bytes(250)) == ""
        os.utime(tmp_path / name, (1000 + age, 1000 + age))
    assert kept.find(names[0]) is not None, "which makes it the one used last"
    os.utime(tmp_path / names[0])
    assert kept.keep(names[3], bytes(250)) == ""
    there = {path.name for path in tmp_path.iterdir()}
    assert there == {"holiday.jpg", names[0], names[2], names[3]}
    assert "more than the 1000" in kept.keep(names[1], bytes(1001))


def test_what_a_killed_run_left_in_the_cache_is_removed_in_time(tmp_path: Path) -> None:
    for name, age_s in (("partial-old", 7200), ("partial-new", 10)):
        (tmp_path / name).write_bytes(b"half")
        os.utime(tmp_path / name, (time.time() - age_s,) * 2)
    assert Cache(tmp_path).keep("a" * 64, b"x") == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a" * 64, "partial-new"]


@pytest.mark.parametrize(
    ("variables", "wanted"),
    [
        ({"HOME": "/h"}, "/h/.cache/vovnet39-inference"),
        ({"HOME": "/h", "XDG_CACHE_HOME": "/x"}, "/x/vovnet39-inference"),
        ({"HOME": "/h", "XDG_CACHE_HOME": "relative"}, "/h/.cache/vovnet39-inference"),
        ({"HOME": "/h", "VOVNET39_CACHE": "a b"}, "a b"),
        ({"HOME": "/h", "VOVNET39_CACHE": ""}, "/h/.cache/vovnet39-inference"),
        ({"HOME": "/h", "VOVNET39_CACHE": "OFF"}, None),
    ],
)
def test_the_cache_lies_where_the_variables_say(
    variables: dict[str, str], wanted: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HOME", "XDG_CACHE_HOME", cache.VARIABLE):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert cache.default_folder() == (None if wanted is None else Path(wanted))


def test_without_a_home_there_may_be_no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOME", "XDG_CACHE_HOME", cache.VARIABLE):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 2**31 - 7)
    assert cache.default_folder() is None
