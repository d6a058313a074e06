"""Faults of files, dumps and labels: names, orders, values, numbering."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tests.diagnosis.fault import Fault, Plant
from tests.diagnosis.ground import Ground
from tests.models import save_classifier

Rows = NDArray[np.float32]


def _changed(key: str, change: Callable[[Path, Sequence[str]], None]) -> Plant:
    """Return a plant of the right .bin files with a change to the folder."""

    def plant(ground: Ground) -> Sequence[object]:
        folder = ground.folder / key
        shutil.copytree(ground.right_bins, folder)
        change(folder, ground.names)
        return ["--bins", folder]

    return plant


def _missing(folder: Path, names: Sequence[str]) -> None:
    (folder / f"{names[4]}.bin").unlink()


def _extra(folder: Path, names: Sequence[str]) -> None:
    shutil.copy(folder / f"{names[4]}.bin", folder / "stranger.bin")


def _cut(folder: Path, names: Sequence[str]) -> None:
    path = folder / f"{names[4]}.bin"
    path.write_bytes(path.read_bytes()[:500_000])


def _doubled(folder: Path, names: Sequence[str]) -> None:
    shutil.copy(folder / f"{names[4]}.bin", folder / f"{names[9]}.bin")


def _exchanged(folder: Path, names: Sequence[str]) -> None:
    one, other = folder / f"{names[2]}.bin", folder / f"{names[7]}.bin"
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)


def _shifted(folder: Path, names: Sequence[str]) -> None:
    contents = [(folder / f"{name}.bin").read_bytes() for name in names]
    for name, content in zip(names, contents[1:] + contents[:1], strict=True):
        (folder / f"{name}.bin").write_bytes(content)


def _spoilt(folder: Path, names: Sequence[str]) -> None:
    path = folder / f"{names[4]}.bin"
    values = np.fromfile(path, np.float32)
    values[60_000:110_000] = 0
    values.tofile(path)


def _with_header(folder: Path, names: Sequence[str]) -> None:
    for name in names:
        path = folder / f"{name}.bin"
        with path.open("rb") as file:
            values = np.fromfile(file, np.float32).reshape(3, 224, 224)
        with path.open("wb") as file:
            np.save(file, values)


def _listed_twice(ground: Ground) -> Sequence[object]:
    info = ground.folder / "twice.info"
    paths = [ground.right_bins / f"{name}.bin" for name in ground.names]
    paths[5] = paths[6]
    info.write_text("".join(f"{i} {path} 224 224\n" for i, path in enumerate(paths)))
    return ["--info", info]


def _dumped(key: str, rows: Callable[[Rows], Rows], form: str = "txt") -> Plant:
    """Return a plant of the right answers with something done to them before they are dumped."""

    def plant(ground: Ground) -> Sequence[object]:
        dumps = ground.dumps(key, rows(ground.logits), form)
        return ["--model", ground.classifier, "--bins", ground.right_bins, "--dumps", dumps]

    return plant


def _softmax(rows: Rows) -> Rows:
    powers = np.exp(rows.astype(np.float64))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), np.float32)


def _within_batches(rows: Rows) -> Rows:
    order = np.arange(len(rows))
    for first in range(0, len(rows), 8):
        order[first : first + 8] = order[first : first + 8][::-1]
    return rows[order]


def _last_batch(rows: Rows) -> Rows:
    """Return answers whose last, incomplete batch was never computed."""
    found = rows.copy()
    found[16:] = 0
    found[16:, 0] = 1
    return found


def _numbered(ground: Ground) -> Sequence[object]:
    """Dump in the order of the numbers in the names, under the names in their order as words."""
    by_number = sorted(ground.names, key=lambda name: int(re.sub(r"\D", "", name)))
    place = {name: row for row, name in enumerate(ground.names)}
    rows = ground.logits[[place[name] for name in by_number]]
    dumps = ground.dumps("numbered", rows)
    return ["--model", ground.classifier, "--bins", ground.right_bins, "--dumps", dumps]


def _other_model(ground: Ground) -> Sequence[object]:
    other = save_classifier(ground.folder / "other.onnx", seed=5)
    dumps = ground.dumps("other_model", ground.answers(other, ground.right_bins))
    return ["--model", ground.classifier, "--bins", ground.right_bins, "--dumps", dumps]


def _other_inputs(ground: Ground) -> Sequence[object]:
    """Dump the answers to the right inputs, and give .bin files of BGR pictures."""
    folder = ground.folder / "bgr_beside"
    folder.mkdir(exist_ok=True)
    for name in ground.names:
        values = np.fromfile(ground.right_bins / f"{name}.bin", np.float32)
        np.ascontiguousarray(values.reshape(3, 224, 224)[::-1]).tofile(folder / f"{name}.bin")
    return ["--model", ground.classifier, "--bins", folder, "--dumps", ground.right_dumps]


def _two_at_once(ground: Ground) -> Sequence[object]:
    """Give .bin files of BGR pictures and labels from 1."""
    bins = _other_inputs(ground)[3]
    labels = {name: label + 1 for name, label in ground.labels.items()}
    given = ["--model", ground.classifier, "--bins", bins]
    return [*given, "--labels", ground.label_file("two", labels)]


def _incomplete(ground: Ground) -> Sequence[object]:
    dumps = ground.dumps("incomplete", ground.logits[:-3], names=ground.names[:-3])
    return ["--model", ground.classifier, "--dumps", dumps]


def _labelled(key: str, change: Callable[[dict[str, int]], dict[str, int]]) -> Plant:
    def plant(ground: Ground) -> Sequence[object]:
        labels = ground.label_file(key, change(ground.labels))
        return ["--dumps", ground.right_dumps, "--labels", labels]

    return plant


def _permuted(ground: Ground) -> Sequence[object]:
    """Give four images to a class, right but for one, and number the classes anew."""
    rng = np.random.default_rng(3)
    rows = rng.normal(0, 1, (len(ground.names), 1000)).astype(np.float32)
    classes = np.arange(len(rows)) % 5 * 170 + 20
    rows[np.arange(len(rows)), classes] += 9
    order = rng.permutation(1000)
    labels = dict(zip(ground.names, order[classes].tolist(), strict=True))
    labels[ground.names[0]] = int(order[999])
    dumps = ground.dumps("five_classes", rows)
    return ["--dumps", dumps, "--labels", ground.label_file("permuted", labels)]


def _as_words(labels: dict[str, int]) -> dict[str, int]:
    words = sorted(map(str, range(1000)))
    return {name: words.index(str(label)) for name, label in labels.items()}


def _of_the_next(labels: dict[str, int]) -> dict[str, int]:
    names = sorted(labels)
    return {name: labels[other] for name, other in zip(names, names[1:] + names[:1], strict=True)}


def _by_number(labels: dict[str, int]) -> dict[str, int]:
    names = sorted(labels)
    numbered = sorted(labels, key=lambda name: int(re.sub(r"\D", "", name)))
    return {name: labels[other] for name, other in zip(numbered, names, strict=True)}


FILES = (
    Fault("a .bin file missing", "files", ("without a .bin",), _changed("gone", _missing)),
    Fault("a .bin file too many", "files", ("of no image", "stranger"), _changed("more", _extra)),
    Fault("a .bin file cut short", "files", ("another size",), _changed("short", _cut)),
    Fault("a .bin file copied over another", "files", ("alike",), _changed("copy", _doubled)),
    Fault("a file listed twice in the info file", "files", ("listed twice",), _listed_twice),
    Fault("two .bin files exchanged", "names", ("another image",), _changed("swap", _exchanged)),
    Fault(
        "every .bin file under the next name", "names", ("1 after",), _changed("shift", _shifted)
    ),
    Fault("one .bin file spoilt", "decoding", ("img13",), _changed("spoilt", _spoilt)),
    Fault("written with numpy.save", "dtype", ("header",), _changed("npy", _with_header)),
)
DUMPS = (
    Fault(
        "dumps shifted by one image",
        "dump order",
        ("1 after",),
        _dumped("roll", lambda rows: np.roll(rows, -1, axis=0)),
    ),
    Fault(
        "dumps in other places within batches of 8",
        "dump order",
        ("batches of 8",),
        _dumped("batches", _within_batches),
    ),
    Fault(
        "the last, incomplete batch never filled",
        "dump order",
        ("last 6 images", "not full"),
        _dumped("tail", _last_batch),
    ),
    Fault(
        "two dumps exchanged",
        "dump order",
        ("under img10 lies that of img1",),
        _dumped("pair", lambda rows: rows[[1, 0, *range(2, len(rows))]]),
    ),
    Fault("listed by number, named by word", "dump order", ("by the numbers",), _numbered),
    Fault(
        "dumps of another model", "dump values", ("not the answers of this model",), _other_model
    ),
    Fault(
        "dumps of other inputs than the .bin files",
        "channel order",
        ("dump values",),
        _other_inputs,
    ),
    Fault(
        "dumps cut to two decimals",
        "dump values",
        ("2 decimals",),
        _dumped("digits", lambda r: r, "%.2f"),
    ),
    Fault("softmax applied", "dump values", ("softmax",), _dumped("softmax", _softmax)),
    Fault(
        "classes one too high",
        "dump values",
        ("one too high",),
        _dumped("high", lambda rows: np.roll(rows, 1, axis=1)),
    ),
    Fault("dumps of three images missing", "dump order", ("3 images have no dump",), _incomplete),
)
LABELS = (
    Fault(
        "BGR files, and labels from 1",
        "channel order",
        ("BGR", "labels: the labels are one too high"),
        _two_at_once,
    ),
    Fault(
        "labels from 1",
        "labels",
        ("one too high",),
        _labelled("from1", lambda labels: {k: v + 1 for k, v in labels.items()}),
    ),
    Fault(
        "labels one too low",
        "labels",
        ("one too low",),
        _labelled("low", lambda labels: {k: max(0, v - 1) for k, v in labels.items()}),
    ),
    Fault(
        "classes numbered in another order",
        "labels",
        ("another order",),
        _permuted,
    ),
    Fault("classes sorted as words", "labels", ("as words",), _labelled("words", _as_words)),
    Fault(
        "each label that of the next image",
        "labels",
        ("image behind",),
        _labelled("next", _of_the_next),
    ),
    Fault(
        "labels given out in the order of numbers",
        "labels",
        ("another order of the images",),
        _labelled("bynumber", _by_number),
    ),
    Fault(
        "labels of another set",
        "labels",
        ("no label for any",),
        _labelled("strangers", lambda labels: {f"val_{k}": v for k, v in labels.items()}),
    ),
)


def _right(form: str) -> Plant:
    def plant(ground: Ground) -> Sequence[object]:
        dumps = ground.dumps(f"right_{form}", ground.logits, form)
        labels = ground.label_file(f"labels_{form}", ground.labels)
        given = ["--model", ground.classifier, "--bins", ground.right_bins, "--dumps", dumps]
        return [*given, "--labels", labels]

    return plant


def _array(ground: Ground) -> Sequence[object]:
    folder = ground.folder / "array"
    folder.mkdir()
    np.save(folder / "results_1.npy", ground.logits)
    (folder / "results.names").write_text("".join(f"{name}\n" for name in ground.names))
    return ["--model", ground.classifier, "--dumps", folder]


def _with_background(rows: Rows) -> Rows:
    return np.concatenate([rows.min(axis=1, keepdims=True) - 1, rows], axis=1)


def _halves(ground: Ground) -> Sequence[object]:
    dumps = ground.dumps("halves", ground.logits.astype(np.float16), "bin")
    return ["--model", ground.classifier, "--dumps", dumps]


def _bfloats(rows: Rows) -> Rows:
    return (rows.view(np.uint32) & 0xFFFF0000).view(np.float32)


CONTROLS = (
    Fault("torchvision's own files, text dumps, labels", "", (), _right("txt")),
    Fault("the same with binary dumps", "", (), _right("bin")),
    Fault("text dumps of six decimals", "", (), _right("%.6f")),
    Fault("results as one array", "", (), _array),
    Fault(
        "dumps of 1001 classes, the first for background", "", (), _dumped("bg", _with_background)
    ),
    Fault("binary dumps in float16", "", (), _halves),
    Fault("dumps rounded to bf16", "", (), _dumped("bf16", _bfloats)),
)
ALL = (*FILES, *DUMPS, *LABELS, *CONTROLS)
