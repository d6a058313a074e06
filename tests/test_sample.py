"""The sample: what is in it, what its accuracy tells apart, and how it comes to be."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pipeline import record
from pipeline.errors import PipelineError
from pipeline.sample import CHECKPOINT, IMAGES, LABELS, MEANING, make, make_sample
from pipeline.sample.draw import COLOURLESS, kinds
from pipeline.sample.forms import ODD

PROJECT = Path(__file__).resolve().parent.parent

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
EVERY = 3  # of the pictures, this many apart are enough to see a fall
FALL = 15  # points of Top1 by which each mistake has to show


def read_labels(folder: Path) -> dict[str, int]:
    lines = (folder / LABELS).read_text().splitlines()
    return {name: int(label) for name, label in (line.split(" ") for line in lines)}


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def run_command(folder: str | Path, cwd: Path = PROJECT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pipeline", "sample", str(folder)],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
    )


# What is in it


def test_every_picture_has_a_label_and_every_label_a_picture(sample_folder: Path) -> None:
    names = sorted(path.name for path in (sample_folder / IMAGES).iterdir())
    assert names == list(read_labels(sample_folder))
    assert 200 <= len(names) <= 320
    assert names[0] == "sample_val_00000001.JPEG"


def test_labels_spread_over_all_classes_and_none_is_the_next_of_another(
    sample_folder: Path,
) -> None:
    labels = np.unique(list(read_labels(sample_folder).values()))
    assert (labels[0], labels[-1]) == (0, 999)
    assert len(labels) >= 20
    assert np.diff(labels).min() > 1


def test_pictures_are_small_files(sample_folder: Path) -> None:
    sizes = [path.stat().st_size for path in (sample_folder / IMAGES).iterdir()]
    assert sum(sizes) < 10e6
    assert max(sizes) < 1e6


def test_pictures_come_in_the_odd_forms_too(sample_folder: Path) -> None:
    found, turned, shapes = set(), set(), []
    for path in (sample_folder / IMAGES).iterdir():
        with Image.open(path) as image:
            found.add((image.format, image.mode))
            turned.add(image.getexif().get(0x0112))
            shapes.append(image.size)
            image.load()
    jpeg, png = {"L", "RGB", "CMYK"}, {"1", "L", "LA", "P", "RGB", "RGBA", "I;16"}
    assert found >= {("JPEG", mode) for mode in jpeg} | {("PNG", mode) for mode in png}
    assert {name for name, _ in found} >= {"WEBP", "BMP", "TIFF", "GIF"}
    assert turned >= {None, 3, 5, 6, 8}
    assert (1, 1) in shapes
    aspects = [width / height for width, height in shapes]
    assert max(aspects) > 10
    assert min(aspects) < 0.1


def test_odd_forms_are_spread_over_the_pictures_and_suit_them() -> None:
    rng = np.random.default_rng(0)
    plan = [kind for kind in kinds(1000) for _ in range(8)]
    rng.shuffle(plan)
    forms = make.assign_forms(plan, rng)
    odd = [number for number, form in enumerate(forms) if form in ODD]
    assert len(odd) == len(ODD)
    assert min(odd) < len(plan) / 4 < 3 * len(plan) / 4 < max(odd)
    for kind, form in zip(plan, forms, strict=True):
        assert kind.palette == COLOURLESS or not form.colourless


def test_pictures_and_labels_are_the_same_bytes_when_drawn_again(
    sample_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / IMAGES).mkdir()
    make.write_pictures(tmp_path)
    first = digests(sample_folder)
    del first[CHECKPOINT]
    assert digests(tmp_path) == first


def test_checkpoint_has_the_published_form(sample_folder: Path) -> None:
    import torch

    from models_vovnet.vovnet import vovnet39

    state = torch.load(sample_folder / CHECKPOINT, weights_only=True)
    shapes = {key: value.shape for key, value in vovnet39().state_dict().items()}
    assert {key: value.shape for key, value in state.items()} == {
        f"module.{key}": shape for key, shape in shapes.items()
    }
    assert all(value.is_contiguous() and torch.isfinite(value).all() for value in state.values())


def test_record_says_what_the_figure_means(sample_folder: Path) -> None:
    content = record.load(sample_folder)
    assert content is not None
    assert content["status"] == "complete"
    assert content["details"]["meaning"] == MEANING
    assert sum(content["details"]["forms"].values()) == content["counts"]["pictures"]


# What its accuracy tells apart

Recipe = Callable[[Image.Image], Any]


def recipe(
    interpolation: str = "bilinear",
    antialias: bool = True,
    mean: tuple[float, float, float] = MEAN,
    std: tuple[float, float, float] = STD,
    bgr: bool = False,
) -> Recipe:
    """The evaluation transform by torchvision, or one with a mistake in it."""
    from torchvision.transforms import InterpolationMode, v2

    resize = v2.Resize(256, InterpolationMode(interpolation), antialias=antialias)

    def prepare(image: Image.Image) -> Any:
        # As a tensor, because on a PIL image torchvision cannot leave the antialiasing out.
        plain = antialias and interpolation == "bilinear"
        resized = resize(image) if plain else resize(v2.functional.pil_to_tensor(image))
        tensor = v2.functional.to_image(v2.functional.center_crop(resized, [224, 224]))
        scaled = v2.functional.to_dtype(tensor, scale=True)
        return v2.functional.normalize(scaled.flip(0) if bgr else scaled, mean, std)

    return prepare


@pytest.fixture(scope="module")
def score(sample_folder: Path) -> Callable[[Recipe], NDArray[np.float32]]:
    """A function that returns the network's outputs, pictures by classes, for one recipe."""
    import torch

    from models_vovnet.vovnet import vovnet39

    state = torch.load(sample_folder / CHECKPOINT, weights_only=True)
    network = vovnet39().eval()
    network.load_state_dict({key.removeprefix("module."): state[key] for key in state})
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    paths = [sample_folder / IMAGES / name for name in read_labels(sample_folder)][::EVERY]

    def run(prepare: Recipe) -> NDArray[np.float32]:
        inputs = torch.stack([prepare(Image.open(path).convert("RGB")) for path in paths])
        outputs = []
        with torch.inference_mode():
            for batch in inputs.split(20):
                outputs.append(network(batch.contiguous(memory_format=torch.channels_last)))
        return torch.cat(outputs).numpy()

    return run


@pytest.fixture(scope="module")
def right(score: Callable[[Recipe], NDArray[np.float32]]) -> NDArray[np.float32]:
    """The outputs by the transform without a mistake."""
    return score(recipe())


@pytest.fixture(scope="module")
def truth(sample_folder: Path) -> NDArray[np.int64]:
    """The labels of the pictures that `score` takes."""
    return np.array(list(read_labels(sample_folder).values()))[::EVERY]


def top(outputs: NDArray[np.float32], labels: NDArray[np.int64], places: int = 1) -> float:
    """Percentage of the pictures whose label is among the first `places`."""
    best = np.argsort(-outputs, axis=1)[:, :places]
    return float((best == labels[:, None]).any(axis=1).mean() * 100)


@pytest.mark.slow
def test_most_pictures_that_the_head_never_saw_are_told_apart_but_not_all(
    right: NDArray[np.float32], truth: NDArray[np.int64]
) -> None:
    assert 70 < top(right, truth) < 96
    assert top(right, truth) < top(right, truth, 5) < 100


@pytest.mark.slow
@pytest.mark.parametrize("shift", [-1, 1])
def test_nothing_is_right_when_the_labels_are_off_by_one(
    shift: int, right: NDArray[np.float32], truth: NDArray[np.int64]
) -> None:
    assert top(right, truth + shift, 5) == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fall", "mistake"),
    [
        pytest.param(40, {"bgr": True}, id="red and blue swapped"),
        pytest.param(40, {"mean": (0.5,) * 3, "std": (0.5,) * 3}, id="another mean and std"),
        pytest.param(40, {"mean": (0.0,) * 3, "std": (1.0,) * 3}, id="not normalised"),
        pytest.param(FALL, {"interpolation": "nearest"}, id="nearest neighbour"),
        pytest.param(8, {"antialias": False}, id="no antialiasing"),
    ],
)
def test_accuracy_falls_by_a_mistake_of_the_transform(
    fall: float,
    mistake: dict[str, Any],
    score: Callable[[Recipe], NDArray[np.float32]],
    right: NDArray[np.float32],
    truth: NDArray[np.int64],
) -> None:
    assert top(score(recipe(**mistake)), truth) < top(right, truth) - fall


@pytest.mark.slow
def test_classes_without_a_picture_come_after_those_with_one(
    right: NDArray[np.float32], truth: NDArray[np.int64]
) -> None:
    used = {kind.label for kind in kinds(1000)}
    assert set(np.argsort(-right, axis=1)[:, :5].ravel()) <= used
    others = np.delete(right, sorted(used), axis=1)
    assert (others.std(axis=0) > 0).all()


# How it comes to be


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make samples of a quarter of the pictures, without the half minute of fitting."""
    monkeypatch.setattr(make, "SCORED_PER_KIND", 2)
    monkeypatch.setattr(make, "write_checkpoint", lambda path: path.write_bytes(b"weights"))


@pytest.fixture
def quick(small: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make samples whose pictures are not even drawn."""
    monkeypatch.setattr(make, "_picture", lambda kind, form, rng: rng.bytes(40))


def test_a_whole_sample_is_left_as_it_is(sample_folder: Path) -> None:
    before = (sample_folder / CHECKPOINT).stat().st_mtime_ns
    again = run_command(sample_folder)
    assert again.returncode == 0, again.stderr
    assert "is there already" in again.stdout
    assert (sample_folder / CHECKPOINT).stat().st_mtime_ns == before


@pytest.mark.usefixtures("small")
def test_a_relative_path_with_spaces_works_and_is_found_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    make_sample(Path("my work/the sample"))
    monkeypatch.chdir(tmp_path / "my work")
    assert "is there already" in make_sample(Path("the sample"))


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("what", ["picture", "labels", "checkpoint"])
def test_a_sample_that_lacks_something_is_made_whole_again(what: str, tmp_path: Path) -> None:
    folder = tmp_path / "sample"
    make_sample(folder)
    first = digests(folder)
    name = {"picture": "images/sample_val_00000007.JPEG", "labels": LABELS}.get(what, CHECKPOINT)
    (folder / name).unlink()
    make_sample(folder)
    assert digests(folder) == first


@pytest.mark.usefixtures("small")
def test_other_files_beside_the_pictures_folder_stay(tmp_path: Path) -> None:
    folder = tmp_path / "sample"
    make_sample(folder)
    (folder / "model.onnx").write_bytes(b"mine")
    assert "is there already" in make_sample(folder)
    (folder / LABELS).write_text("changed\n")
    make_sample(folder)
    assert (folder / "model.onnx").read_bytes() == b"mine"
    assert len(read_labels(folder)) == 60


@pytest.mark.usefixtures("small")
def test_somebody_elses_picture_among_the_samples_stops_it(tmp_path: Path) -> None:
    folder = tmp_path / "sample"
    make_sample(folder)
    (folder / IMAGES / "holiday.JPEG").write_bytes(b"mine")
    before = digests(folder)
    with pytest.raises(PipelineError, match=r"holiday\.JPEG"):
        make_sample(folder)
    assert digests(folder) == before


def test_a_run_that_was_killed_is_not_taken_for_a_whole_sample(tmp_path: Path) -> None:
    folder = tmp_path / "sample"
    first = folder / IMAGES / "sample_val_00000001.JPEG"
    for _ in range(2):
        first.unlink(missing_ok=True)
        process = subprocess.Popen(
            [sys.executable, "-m", "pipeline", "sample", str(folder)],
            cwd=PROJECT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 60
        while not first.exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        # The second turn of the loop shows that the command starts over what the first one left.
        assert first.exists()
        assert json.loads(record.path_of(folder).read_text())["status"] == "running"
        assert not (folder / CHECKPOINT).exists()


@pytest.mark.usefixtures("quick")
def test_a_run_killed_anywhere_is_made_good_by_the_next_and_leaves_nothing(tmp_path: Path) -> None:
    whole, folder = tmp_path / "whole" / "sample", tmp_path / "killed" / "sample"
    total = run_until(whole, None)
    names, first = sorted(path.name for path in whole.parent.rglob("*")), digests(whole)
    assert total > 70
    for point in (1, 2, 3, 4, 5, 6, total // 2, *range(total - 12, total + 1)):
        run_until(folder, point)
        if point < total - 3:
            assert "is there already" not in make_sample(folder)
        else:  # all of it was there but for the end of its record
            make_sample(folder)
        assert digests(folder) == first
        assert sorted(path.name for path in folder.parent.rglob("*")) == names
        shutil.rmtree(folder.parent)


def run_until(folder: Path, point: int | None) -> int:
    """Make the sample in a process that is killed as it changes files for the `point`th time.

    Returns the number of changes of a run that is not killed.
    """
    reading, writing = os.pipe()
    process = os.fork()
    if not process:
        changes = 0

        def kill(event: str, arguments: tuple[Any, ...]) -> None:
            nonlocal changes
            flags = arguments[2] if event == "open" else os.O_CREAT
            if event in ("open", "os.rename", "os.remove", "os.mkdir") and flags & os.O_CREAT:
                changes += 1
                if changes == point:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(kill)
        try:
            make_sample(folder)
            os.write(writing, b"%d" % changes)
        finally:
            os._exit(0)
    os.close(writing)
    _, status = os.waitpid(process, 0)
    with os.fdopen(reading, "rb") as counted:
        text = counted.read()
    assert os.WIFSIGNALED(status) == (point is not None)
    return int(text or b"0")


@pytest.mark.usefixtures("quick")
def test_force_makes_a_whole_sample_anew(tmp_path: Path) -> None:
    folder = tmp_path / "sample"
    make_sample(folder)
    first, before = digests(folder), (folder / LABELS).stat().st_mtime_ns
    assert "is there already" not in make_sample(folder, force=True)
    assert digests(folder) == first
    assert (folder / LABELS).stat().st_mtime_ns > before


def test_two_at_once_are_one_too_many(tmp_path: Path) -> None:
    folder = tmp_path / "sample"
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline", "sample", str(folder)],
        cwd=PROJECT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        first = folder / IMAGES / "sample_val_00000001.JPEG"
        deadline = time.monotonic() + 60
        while not first.exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        done = run_command(folder)
        assert done.returncode == 1
        assert f"is being made by process {process.pid}; " in done.stderr
        assert done.stderr.count("\n") == 1
        assert first.exists()
        assert process.poll() is None
    finally:
        process.kill()
        process.wait()


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    "change",
    [{"status": "running"}, {"outputs": []}, {"outputs": [{"path": "x"}] * 4}, {"versions": {}}],
)
def test_a_record_that_says_less_than_whole_is_not_taken_for_it(
    change: dict[str, Any], tmp_path: Path
) -> None:
    folder = tmp_path / "sample"
    make_sample(folder)
    place = record.path_of(folder)
    place.write_text(json.dumps(json.loads(place.read_text()) | change))
    assert "is there already" not in make_sample(folder)
    assert "is there already" in make_sample(folder)


@pytest.mark.parametrize("case", ["full", "file", "of another stage"])
def test_a_folder_that_holds_something_else_is_refused_in_one_line(
    case: str, tmp_path: Path
) -> None:
    folder = tmp_path / "mine"
    if case == "file":
        folder.write_text("mine")
    else:
        folder.mkdir()
        (folder / "note.txt").write_text("mine")
    if case == "of another stage":
        with record.keeping(record.Run("preprocess", [], [folder], {})):
            pass
    before = digests(tmp_path)
    done = run_command("mine", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "mine" in done.stderr
    assert "give the sample a folder of its own" in done.stderr
    assert digests(tmp_path) == before
