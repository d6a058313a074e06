"""The recipe that another pipeline went by, found from what it made of a few pictures.

The tables of sizes, filters, crops, turns and decoders are tried one after the other, each with the
best of what came before; the first recipe that leaves nothing ends the search. A size or an offset
that no table has is measured: the given picture is laid on the whole one by an affine map that
maximises their correlation (cv2.findTransformECC; Evangelidis and Psarakis, "Parametric Image
Alignment Using Enhanced Correlation Coefficient Maximization", IEEE TPAMI 30, 2008).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pipeline.diagnose import fit, register
from pipeline.diagnose.decoders import COLOURS, DECODERS, RECOMPRESSED
from pipeline.diagnose.filters import FILTERS, USUAL_FILTER
from pipeline.diagnose.fit import Fit
from pipeline.diagnose.recipes import (
    ANCHORS,
    SIZES,
    TURNS,
    Recipe,
)
from pipeline.diagnose.samples import Sample

EXACT = 0.02  # levels left at a pixel that only rounding of float32 explains
HALF_EXACT = 0.3  # of float16
PICTURES = 6
_SCORED = 4  # of them, for each recipe that is good
_GLANCED, _GLANCED_AT = 2, 16  # of them, for all recipes, and how many go on
_HOPELESS = 60.0  # levels; above, the pictures have little to do with the images
_NEAR = 0.35  # levels; below, what is left is a matter of rounding
_KEPT = 4  # best entries of a table that go on to the next


@dataclass(frozen=True)
class Found:
    """The best recipe and what it leaves: `rms` in levels; `exact` says that it leaves nothing."""

    recipe: Recipe
    fit: Fit
    rms: float
    exact: bool


class Search:
    """Tries recipes on the pictures `samples`, whose given values have `side` rows."""

    def __init__(self, samples: Sequence[Sample], side: int, exact: float) -> None:
        self._samples, self._exact = samples, exact
        self._base = Recipe(side=side)
        self._scores: dict[tuple[Recipe, int], float] = {}

    def run(self) -> Found | None:
        """Return the best recipe, or None where none has anything to do with the pictures."""
        if not self._samples:
            return None
        best = [self._base]
        for stage in (
            list,
            self._turns,
            self._filter,
            self._sizes,
            self._filters,
            self._measured,
            self._decoded,
        ):
            best = self._best(stage(best))[:_KEPT]
            if self._score(best[0]) <= self._exact / 2 and self._is_exact(best[0]):
                break
        return self._found(best[0])

    def _turns(self, best: Sequence[Recipe]) -> Iterable[Recipe]:
        yield self._base
        yield from (self._base.with_(turn=turn) for turn in TURNS if turn)
        yield from (self._base.with_(decoder=decoder) for decoder in COLOURS)

    def _filter(self, best: Sequence[Recipe]) -> Iterable[Recipe]:
        yield from best
        yield from (best[0].with_(filter=name) for name in FILTERS)

    def _sizes(self, best: Sequence[Recipe]) -> Iterable[Recipe]:
        yield from best
        for recipe in best[:2]:
            yield from (recipe.with_(size=size) for size in SIZES)
            yield from (recipe.with_(across=a, down=b) for a, b in _anchors())

    def _filters(self, best: Sequence[Recipe]) -> Iterable[Recipe]:
        yield from best
        for recipe in best:
            yield from (recipe.with_(filter=name) for name in FILTERS)
            if recipe.size.kind == "short":
                rounded = recipe.with_(size=recipe.size.rounded())
                lower = {"across": "centre, rounded down", "down": "centre, rounded down"}
                for other in (rounded, recipe.with_(**lower), rounded.with_(**lower)):
                    yield from (other.with_(filter=name) for name in FILTERS)

    def _measured(self, best: Sequence[Recipe]) -> Iterable[Recipe]:
        yield from best
        for recipe in best[:1]:
            measured = list(register.recipes(recipe, self._samples))
            yield from measured
            for near in self._best(measured)[:2]:
                yield from (near.with_(filter=name) for name in FILTERS)

    def _decoded(self, best: Sequence[Recipe]) -> Iterable[Recipe]:
        yield from best
        if not _NEAR / 10 <= self._score(best[0]) <= _HOPELESS:
            return
        # A filter or a measured size that only came nearest may have hidden the decoder.
        plain = self._base.with_(turn=best[0].turn)
        for recipe in dict.fromkeys((plain, best[0].with_(filter=USUAL_FILTER), *best[:2])):
            yield from (recipe.with_(decoder=name) for name in DECODERS)
        for recipe in dict.fromkeys((plain, best[0].with_(filter=USUAL_FILTER), best[0])):
            yield from (recipe.with_(decoder=name) for name in RECOMPRESSED)

    def widened(self, found: Found, samples: Sequence[Sample]) -> Found:
        """Return the recipe that explains most of more pictures, of those that round otherwise.

        How a long side and the margins of a crop are rounded shows in some sizes only.
        """
        recipe = found.recipe
        if recipe.size.kind not in ("short", "rounded") or not recipe.across.startswith("centre"):
            return found
        centres = [name for name in ANCHORS if name.startswith("centre")]
        near = [
            recipe.with_(size=size, across=anchor, down=anchor)
            for size in dict.fromkeys((recipe.size, *recipe.size.roundings()))
            for anchor in dict.fromkeys((recipe.across, *centres))
        ]
        counts = [
            sum(leaves(sample, one_of, found.fit)[0] <= self._exact for sample in samples)
            for one_of in near
        ]
        return replace(found, recipe=near[counts.index(max(counts))])

    def _best(self, recipes: Iterable[Recipe]) -> list[Recipe]:
        """Return recipes by what they leave; of equals the first comes first."""
        every = list(dict.fromkeys(recipes))
        able = sorted(every, key=lambda r: round(self._score(r, _GLANCED), 4))[:_GLANCED_AT]
        return sorted(able, key=lambda r: round(self._score(r), 4))

    def _score(self, recipe: Recipe, pictures: int = 0) -> float:
        """Return the median over so many of the pictures of the levels that are left."""
        key = recipe, pictures or _SCORED
        if key not in self._scores:
            few = self._samples[: key[1]]
            found = [solved.rms for sample in few if (solved := one(sample, recipe))]
            enough = 2 * len(found) > len(few)
            self._scores[key] = float(np.median(found)) if enough else fit.NO_FIT
        return self._scores[key]

    def _is_exact(self, recipe: Recipe) -> bool:
        solved = self._pooled(recipe)
        if solved is None:
            return False
        left = [leaves(sample, recipe, solved)[0] for sample in self._samples]
        return 2 * sum(most <= self._exact for most in left) > len(left)

    def _pooled(self, recipe: Recipe) -> Fit | None:
        """Return the relation over all pictures that the recipe suits as well as the median."""
        limit = 3 * self._score(recipe) + 1e-3
        sums = []
        for sample in self._samples:
            solved = one(sample, recipe)
            pixels = sample.pixels(recipe)
            if solved and solved.rms <= limit and pixels is not None and sample.given is not None:
                sums.append(fit.moments(sample.given, pixels))
        return fit.solve(fit.together(sums)) if sums else None

    def _found(self, recipe: Recipe) -> Found | None:
        solved = self._pooled(recipe)
        if solved is None:
            return None
        return Found(recipe, solved, self._score(recipe), self._is_exact(recipe))


def one(sample: Sample, recipe: Recipe) -> Fit | None:
    """Return the relation of one picture by `recipe`; None where there is none."""
    if sample.given is None:
        return None
    pixels = sample.pixels(recipe)
    if pixels is None or pixels.shape[:2] != sample.given.shape[1:]:
        return None
    # Every second row and column tell recipes apart as well as all of them.
    return fit.solve(fit.moments(sample.given[:, ::2, ::2], pixels[::2, ::2]))


def leaves(sample: Sample, recipe: Recipe, solved: Fit) -> tuple[float, float]:
    """Return the greatest and the mean of the levels left at a sample by `recipe`."""
    pixels = sample.pixels(recipe)
    if sample.given is None or pixels is None or pixels.shape[:2] != sample.given.shape[1:]:
        return fit.NO_FIT, fit.NO_FIT
    rest = solved.left(sample.given, pixels)
    return float(rest.max()), float(rest.mean())


def _anchors() -> Iterable[tuple[str, str]]:
    corners = ("start", "end")
    yield from ((across, down) for across in corners for down in corners)
    yield from ((name, name) for name in ANCHORS if name.startswith("centre"))
