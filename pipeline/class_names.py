"""Names of classes: ImageNet's from an installed library, the sample's from its record."""

from __future__ import annotations

import ast
import importlib.util
import re
from collections.abc import Mapping
from pathlib import Path

from pipeline import chain, record
from pipeline.errors import PipelineError
from pipeline.record import Json

SAMPLE, FOLDERS, IMAGENET, NOBODY = "sample", "folders", "imagenet", "nobody"
IMAGENET_CLASSES = 1000
_WORDNET_ID = re.compile(r"n[0-9]{8}")  # what ImageNet's class folders are called


def of_run(sample: Json | None, prepared: Json | None, classes: int) -> tuple[dict[int, str], str]:
    """Return the names of the classes of a run, and whose they are: one of the words above.

    `sample` is the record of the sample where its labels were scored, `prepared` that of the
    preprocessing, which knows the folders of an image folder's classes, and `classes` the number
    of the model's outputs, of which ImageNet's have 1000, or 1001.
    """
    if sample:
        return of_sample(sample), SAMPLE
    folders = list(map(str, chain.field(prepared, list, "details", "classes") or []))
    if folders and not all(map(_WORDNET_ID.fullmatch, folders)):
        return dict(enumerate(folders)), FOLDERS
    if classes not in (IMAGENET_CLASSES, IMAGENET_CLASSES + 1):
        return {}, NOBODY
    return imagenet(), IMAGENET


def sample_of(labels: Path | None) -> Json | None:
    """Return the record of the sample that a label file lies in, or None where it is no sample's.

    A record that cannot be read is no sample's.
    """
    try:
        made = record.load(labels.parent) if labels else None
    except (PipelineError, OSError):
        return None
    return made if made and made["stage"] == "sample" else None


def imagenet() -> dict[int, str]:
    """Return the names of ImageNet's 1000 classes as torchvision has them; empty without it.

    They are read from its source, for importing it would import torch.
    """
    spec = importlib.util.find_spec("torchvision")
    places = list(spec.submodule_search_locations or ()) if spec else []
    for place in places:
        try:
            tree = ast.parse(Path(place, "models", "_meta.py").read_bytes())
        except (OSError, SyntaxError):
            continue
        for node in tree.body:
            if isinstance(node, ast.Assign) and _is_name(node.targets, "_IMAGENET_CATEGORIES"):
                names = ast.literal_eval(node.value)
                return dict(enumerate(names)) if len(names) == IMAGENET_CLASSES else {}
    return {}


def of_sample(made: Json) -> dict[int, str]:
    """Return the names of the sample's classes, `palette texture`, from the sample's record."""
    names: dict[int, str] = {}
    for kind in chain.field(made, list, "details", "kinds") or []:
        label = chain.field(kind, int, "label")
        words = [chain.field(kind, str, key) or "" for key in ("palette", "texture")]
        if label is not None and all(words):
            names[label] = " ".join(words)
    return names


def name_of(label: int, names: Mapping[int, str]) -> str:
    """Return a class's name, or its number where it has none."""
    return names.get(label) or f"class {label}"


def _is_name(targets: list[ast.expr], name: str) -> bool:
    return any(isinstance(target, ast.Name) and target.id == name for target in targets)
