"""Checkpoints from strangers: no code runs, no memory is given away, no time without end."""

from __future__ import annotations

import builtins
import io
import os
import pickle
import subprocess
import time
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from models_vovnet import checkpoint, container, pickled
from pipeline.errors import PipelineError
from tests.test_checkpoint import SLIM, State, refusal, slim_weights, state

__all__ = ["slim_weights", "state"]  # fixtures

START, STOP, TWICE = b"\x80\x02", b".", b"q\x00h\x00\x86"  # a tuple of the last value, twice


def rewrite(path: Path, change: Callable[[str, bytes], bytes | None], **settings: Any) -> None:
    """Write an archive anew, each member as `change` has it; None leaves it out."""
    with zipfile.ZipFile(path) as archive:
        members = [(member.filename, archive.read(member)) for member in archive.infolist()]
    with zipfile.ZipFile(path, "w", **settings) as archive:
        for name, data in members:
            if (changed := change(name, data)) is not None:
                archive.writestr(name, changed)


def archive_of(pickle_bytes: bytes, path: Path) -> Path:
    """Write an archive whose content is the pickle `pickle_bytes`; return `path`."""
    torch.save({"a": torch.zeros(3)}, path)
    rewrite(path, lambda name, data: pickle_bytes if name.endswith("/data.pkl") else data)
    return path


def old_file_of(pickle_bytes: bytes, path: Path, place: int = 3) -> Path:
    """Write a file of the old format, with `pickle_bytes` for one of its pickles; return `path`."""
    file = io.BytesIO()
    torch.save({"a": torch.zeros(3)}, file, _use_new_zipfile_serialization=False)
    file.seek(0)
    parts = []
    for _ in range(5):
        start = file.tell()
        pickled.outline(file)
        parts.append(file.getvalue()[start : file.tell()])
    parts[place] = pickle_bytes
    path.write_bytes(b"".join(parts) + file.read())
    return path


class Calls:
    """An object whose pickle calls something."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.how = (function, arguments)

    def __reduce__(self) -> Any:
        return self.how


ATTACKS: dict[str, Callable[[str], Any]] = {
    "posix.system": lambda mark: Calls(os.system, f"touch {mark}"),
    "builtins.eval": lambda mark: Calls(eval, f"open({mark!r}, 'w')"),
    "builtins.exec": lambda mark: [{"a": (Calls(exec, f"open({mark!r}, 'w')"),)}],
    "subprocess.Popen": lambda mark: Calls(subprocess.Popen, ["touch", mark]),
    "builtins.getattr": lambda mark: [Calls(getattr, "x", "y"), Calls(os.system, f"touch {mark}")],
    "torch.hub.load": lambda mark: Calls(torch.hub.load, mark, "x"),
    "torch.serialization.load": lambda mark: Calls(torch.load, mark, None, None),
    "builtins.bytearray": lambda mark: Calls(builtins.bytearray, 10**13),
    "torch.storage._load_from_bytes": lambda mark: Calls(torch.storage._load_from_bytes, b""),
}


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize("place", ["archive", "old file", "old file, head"])
def test_what_a_file_would_call_is_named_and_not_called(
    name: str, place: str, tmp_path: Path
) -> None:
    mark = tmp_path / "it-ran"
    content = pickle.dumps(ATTACKS[name](str(mark)), protocol=2)
    path = tmp_path / "x.pth"
    if place == "archive":
        archive_of(content, path)
    else:
        old_file_of(content, path, 3 if place == "old file" else 2)
    line = refusal(path)
    assert f"holds the Python object {name}, and no code is run" in line
    assert not mark.exists()


BOMBS = {
    "a key of 2**60 values": b"}N\x85" + TWICE * 60 + b"Ns",
    "a key in a million tuples": b"})" + b"\x85" * 1_000_000 + b"Ns",
    "a hundred thousand lists in each other": b"]" * 100_000 + b"a" * 99_999,
    "one list made a dictionary again and again": (
        b"]](" + b"N" * 4000 + b"eq\x01a" + b"ccollections\nCounter\nh\x01\x85Ra" * 4000
    ),
    "one key of many values again and again": (b"}(" + b"N" * 4000 + b"tq\x01" + b"h\x01Ns" * 4000),
}


@pytest.mark.parametrize("bomb", BOMBS)
@pytest.mark.parametrize("write", [archive_of, old_file_of])
def test_a_pickle_that_would_keep_torch_busy_is_refused_at_once(
    bomb: str, write: Callable[[bytes, Path], Path], tmp_path: Path
) -> None:
    path = write(START + BOMBS[bomb] + STOP, tmp_path / "x.pth")
    started = time.process_time()
    assert "nested without measure" in refusal(path)
    assert time.process_time() - started < 20, "it is not even tried"


def test_a_pickle_larger_than_any_is_refused(
    state: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = archive_of(START + b"N0" * 3_000_000 + b"N.", tmp_path / "x.pth")
    assert "a pickle of 6000004 bytes" in refusal(path)
    assert "damaged" in refusal(old_file_of(START + b"N0" * 3_000_000 + b"N.", path))


@pytest.mark.parametrize("by", [-1, 1, 10**6])
@pytest.mark.parametrize("new_format", [True, False])
def test_a_storage_of_another_length_than_the_pickle_says_is_refused(
    by: int, new_format: bool, state: State, tmp_path: Path
) -> None:
    path = tmp_path / "x.pth"
    torch.save(state, path, _use_new_zipfile_serialization=new_format)
    count = 7 * 512  # of the classifier's weights
    said, says = (b"M" + count.to_bytes(2, "little"), b"J" + (count + by).to_bytes(4, "little"))

    def change(name: str, data: bytes) -> bytes:
        assert not name.endswith("data.pkl") or data.count(said) == 1
        return data.replace(said, says) if name.endswith("data.pkl") else data

    if new_format:
        rewrite(path, change)
    else:
        data = path.read_bytes()
        assert data.count(said) == 1
        path.write_bytes(data.replace(said, says))
    assert "storage " in refusal(path)


def test_an_old_file_that_leaves_a_storage_out_is_refused(tmp_path: Path) -> None:
    # torch would take what the memory held before for weights.
    path = old_file_of(START + b"]" + STOP, tmp_path / "x.pth", place=4)
    assert "its storages are not those of its tensors" in refusal(path)


def test_methods_that_a_file_gives_its_objects_are_not_called(state: State, tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    odd: OrderedDict[str, Any] = OrderedDict()
    for key, value in state.items():
        odd[key] = torch.nn.Parameter(value) if value.is_floating_point() else value
    weight = odd["classifier.weight"]
    for name in ("detach", "dim", "to", "numel", "contiguous", "untyped_storage"):
        setattr(weight, name, 5)
    odd.get = odd.keys = odd.values = 5  # type: ignore[assignment,method-assign]
    torch.save({"state_dict": odd}, path)
    loaded = checkpoint.load(path, SLIM)
    assert torch.equal(loaded.state_dict["classifier.weight"], state["classifier.weight"])


@pytest.mark.parametrize("key", ["x" * 10_000, "two\nlines", "\x1b[31m"])
def test_an_odd_key_keeps_the_line_short_and_whole(key: str, state: State, tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    torch.save(state | {key: torch.zeros(1)}, path)
    line = refusal(path)
    assert "1 keys do not fit" in line
    assert len(line) < 500
    torch.save({key: 5}, path)
    assert len(refusal(path)) < 500


@pytest.mark.parametrize(
    "made",
    [
        lambda plain: plain.to_sparse(),
        lambda plain: plain.to_sparse_csr(),
        lambda plain: torch.quantize_per_tensor(plain, 0.1, 0, torch.qint8),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_tensors_that_are_not_plain_are_refused(
    made: Callable[[torch.Tensor], torch.Tensor], state: State, tmp_path: Path
) -> None:
    path = tmp_path / "x.pth"
    torch.save(state | {"classifier.weight": made(torch.zeros(7, 512))}, path)
    assert "holds no plain tensors (torch._utils._rebuild" in refusal(path)


def test_weights_that_lie_in_one_storage_are_taken(state: State, tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    whole = torch.arange(2 * 7 * 512.0)
    weight = whole[7 * 512 :].reshape(512, 7).t()  # an offset, and strides of its own
    torch.save(state | {"classifier.weight": weight, "classifier.bias": whole[3:10]}, path)
    loaded = checkpoint.load(path, SLIM).state_dict
    assert torch.equal(loaded["classifier.weight"], weight)
    assert torch.equal(loaded["classifier.bias"], whole[3:10])


@pytest.mark.parametrize("part", ["size", "stride", "offset"])
def test_a_tensor_beyond_its_storage_is_refused(part: str, tmp_path: Path) -> None:
    sizes = {"size": (9, 1, 0), "stride": (3, 5, 0), "offset": (3, 1, 7)}[part]
    path = tmp_path / "x.pth"
    torch.save({"a": torch.zeros(3)}, path)

    def change(name: str, data: bytes) -> bytes:
        if not name.endswith("data.pkl"):
            return data
        size, stride, offset = (b"K" + bytes([n]) for n in sizes)
        old = b"QK\x00K\x03\x85q"
        assert data.count(old) == 1
        data = data.replace(old, b"Q" + offset + size + b"\x85q")
        place = data.index(b"K\x01\x85", data.index(size + b"\x85q"))
        return data[:place] + stride + data[place + 2 :]

    rewrite(path, change)
    assert "damaged or not a PyTorch checkpoint" in refusal(path)


def test_an_archive_with_a_comment_or_bytes_around_it_is_refused(
    state: State, tmp_path: Path
) -> None:
    path = tmp_path / "x.pth"
    torch.save(state, path)
    plain = path.read_bytes()
    assert checkpoint.load(path, SLIM)
    for data in (plain + b"more", b"PK\x03\x04 before" + plain, plain[:-2] + b"\4\0note"):
        path.write_bytes(data)
        assert "is cut short or damaged (" in refusal(path)


def test_two_members_of_one_name_are_refused(tmp_path: Path) -> None:
    path = archive_of(START + b"}" + STOP, tmp_path / "x.pth")
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr(archive.namelist()[0], b"another")
    assert "two members of one name" in refusal(path)


def test_an_archive_without_a_checkpoint_is_told(tmp_path: Path) -> None:
    inner = archive_of(START + b"}" + STOP, tmp_path / "inner.pth")
    path = tmp_path / "x.pth"
    for name in ("inner.pth", "word/document.xml"):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(name, inner.read_bytes())
        assert "is a zip archive without a checkpoint in it" in refusal(path)
    with zipfile.ZipFile(path, "w"):
        pass
    assert refusal(path)


def test_members_that_claim_terabytes_are_refused(state: State, tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    torch.save(state, path)
    data = bytearray(path.read_bytes())
    entry = data.find(b"PK\x01\x02")
    data[entry + 20 : entry + 28] = b"\xf0\xff\xff\xff" * 2
    path.write_bytes(data)
    assert re_any(refusal(path), "compressed archive", "cut short or damaged")


def re_any(line: str, *words: str) -> bool:
    return any(word in line for word in words)


def test_a_directory_of_too_many_members_is_refused_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = archive_of(START + b"}" + STOP, tmp_path / "x.pth")
    with zipfile.ZipFile(path, "a") as archive:
        for number in range(300):
            archive.writestr(f"archive/{number}", b"")
    monkeypatch.setattr(container, "_MOST_DIRECTORY", 10_000)
    assert "a directory of " in refusal(path)


def test_a_file_that_would_need_all_memory_is_one_line(
    state: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.pth"
    torch.save(state, path)

    def load(*rest: Any, **settings: Any) -> Any:
        raise MemoryError

    monkeypatch.setattr(torch, "load", load)
    with pytest.raises(PipelineError, match=r"x\.pth: damaged or .* \(MemoryError\)"):
        checkpoint.load(path, SLIM)
