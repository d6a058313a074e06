"""docs/design.md: a map of the rooms that are there, and of no others."""

from __future__ import annotations

import re

from tests.conftest import PROJECT

MAP = (PROJECT / "docs" / "design.md").read_text()
ROOMS = MAP[MAP.index("## Rooms") : MAP.index("## Contracts")]


def test_every_room_is_on_the_map() -> None:
    missing = []
    for folder in ("cli", "pipeline", "models_vovnet"):
        for file in (PROJECT / folder).rglob("*.py"):
            place = file.relative_to(PROJECT)
            within = f"`{place.parent}/` .*`{place.stem}`"
            if not place.stem.startswith("__") and f"`{place}`" not in ROOMS:
                missing += [] if re.search(within, ROOMS) else [str(place)]
    assert not missing


def test_every_path_on_the_map_is_there() -> None:
    paths = re.findall(r"`([a-z_0-9]+(?:/[a-z_0-9]*)+(?:\.(?:py|sh))?)`", MAP)
    assert len(paths) > 20
    assert not [path for path in paths if not (PROJECT / path).exists()]
