"""Names of classes, from what is installed and from the sample's record."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from pipeline import class_names


def test_imagenet_names_are_those_of_torchvision() -> None:
    from torchvision.models import ResNet18_Weights

    names = class_names.imagenet()
    assert [names[n] for n in range(1000)] == ResNet18_Weights.DEFAULT.meta["categories"]


def test_without_torchvision_there_are_no_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert class_names.imagenet() == {}
    assert class_names.name_of(7, {}) == "class 7"


@pytest.mark.parametrize("content", ["_IMAGENET_CATEGORIES = ['tench']", "a = (", "a = 1"])
def test_a_library_that_has_them_no_more_is_no_harm(
    content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "_meta.py").write_text(content)
    spec = importlib.util.spec_from_loader("torchvision", None, is_package=True)
    assert spec and spec.submodule_search_locations is not None
    spec.submodule_search_locations.append(str(tmp_path))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    assert class_names.imagenet() == {}


def test_the_sample_names_its_classes() -> None:
    kinds = [{"label": 0, "palette": "ember", "texture": "level"}, {"label": "x"}, 7]
    assert class_names.of_sample({"details": {"kinds": kinds}}) == {0: "ember level"}
    assert class_names.of_sample({}) == {}


@pytest.mark.parametrize(
    ("folders", "classes", "whose", "first"),
    [
        (["cat", "dog"], 2, class_names.FOLDERS, "cat"),
        (["n01440764", "n01443537"], 1000, class_names.IMAGENET, "tench"),
        ([], 1001, class_names.IMAGENET, "tench"),
        ([], 10, class_names.NOBODY, None),
    ],
)
def test_names_are_those_of_whoever_knows_the_classes(
    folders: list[str], classes: int, whose: str, first: str | None
) -> None:
    prepared = {"details": {"classes": folders}}
    names, found = class_names.of_run(None, prepared, classes)
    assert (names.get(0), found) == (first, whose)
    kinds = [{"label": 0, "palette": "leaf", "texture": "dots"}]
    sample = {"details": {"kinds": kinds}}
    assert class_names.of_run(sample, prepared, classes) == ({0: "leaf dots"}, class_names.SAMPLE)


@pytest.mark.parametrize("content", ['{"schema": 1, "stage": "sample"}', "{", '{"schema": 1}'])
def test_labels_are_the_samples_where_its_record_says_so(content: str, tmp_path: Path) -> None:
    (tmp_path / "sample").mkdir()
    (tmp_path / "sample.record.json").write_text(content)
    found = class_names.sample_of(tmp_path / "sample" / "val_label.txt")
    assert (found is not None) == ("sample" in content)
    assert class_names.sample_of(None) is None
