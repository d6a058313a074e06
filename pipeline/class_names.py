"""Names of classes: ImageNet's from an installed library, the sample's from its record."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Mapping
from pathlib import Path

from pipeline import chain
from pipeline.record import Json

IMAGENET_CLASSES = 1000


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
