"""What another pipeline did to the images, from the files that it made of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline import progress
from pipeline.diagnose import files, owners, samples, stored, values
from pipeline.diagnose.decoders import DECODERS, USUAL_DECODER
from pipeline.diagnose.files import Bins
from pipeline.diagnose.fit import Fit
from pipeline.diagnose.recipes import Recipe
from pipeline.diagnose.samples import Sample
from pipeline.diagnose.search import EXACT, HALF_EXACT, PICTURES, Found, Search, leaves
from pipeline.diagnose.stored import Form
from pipeline.diagnose.values import Named
from pipeline.imagenet.transform import normalise

_FOR_FORM = 12  # files that say how all are to be read
_MOST_ALONE = 40  # images that are looked at one by one
_MANY = 0.3  # of the files
_CANDIDATES = 4  # images that a file may be of
_NEARLY = (1.1, 0.005)  # levels left at most and on average
_STRANGE = 25.0  # levels left by the best recipe; then it explains nothing


@dataclass
class Explanation:
    """How the given files came about, and for how many images that holds.

    `form` is None where the bytes are no pictures, `found` where no recipe was found, and both
    stay None where nothing had to be searched for because all is equal. `odd` are the images that
    the recipe does not explain, each with the decoder that does, or None.
    """

    expected: Form
    compared: int = 0
    equal: int = 0  # to the last bit
    form: Form | None = None
    found: Found | None = None
    named: Named | None = None
    explained: int = 0
    greatest: float = 0.0  # levels left, of the explained
    mean: float = 0.0
    odd: Mapping[str, str | None] = field(default_factory=dict)
    kinds: Counter[str] = field(default_factory=Counter)  # of the images in `odd`
    moved: str = ""  # files under the name of another image, in words
    unread: Sequence[str] = ()  # files of another size than the rest
    colourful: bool = True
    flat: bool = False  # every image is of one colour, and tells nothing

    @property
    def same(self) -> bool:
        """Say whether all files are the reference's, to the last bit."""
        return self.compared > 0 and self.equal == self.compared and not self.moved


def explain(chosen: Sequence[Sample], bins: Bins, expected: Form | None) -> Explanation:
    """Compare the prepared files of the chosen images with the reference; explain what differs.

    `expected` is how the model takes them; without a model the files' own dtype says it.
    """
    contents = {s.stem: files.read(bins.paths[s.stem]) for s in chosen if s.stem in bins.paths}
    form = _form(chosen, contents, expected)
    wanted = expected or stored.standard(form.dtype if form and form.dtype == np.uint8 else None)
    result = Explanation(wanted, form=form)
    if form is None:
        return result
    present = [sample for sample in chosen if sample.stem in contents]
    result.unread = [s.stem for s in present if form.read(contents[s.stem]) is None]
    wild = []
    for sample in present:
        values = form.read(contents[sample.stem])
        if values is not None and not stored.is_moderate(values):
            wild.append(sample.stem)
        elif values is not None:
            sample.given = values.astype(np.float32)
    able = [sample for sample in present if sample.given is not None]
    result.compared = len(able) + len(wild)
    result.equal = sum(_equals(sample, contents[sample.stem], wanted) for sample in able)
    if able and result.equal < result.compared:
        _own(able, result)
        _search(able, result)
        result.odd = {**result.odd, **dict.fromkeys(wild)}
    return result


def _form(
    chosen: Sequence[Sample], contents: Mapping[str, bytes], expected: Form | None
) -> Form | None:
    """Return how the files are to be read: as most of those of ordinary pictures are."""
    ranked = sorted((s for s in chosen if s.stem in contents), key=lambda s: not s.ordinary)
    some = [contents[sample.stem] for sample in ranked]
    if not some:
        return None
    usual = Counter(map(len, some)).most_common(1)[0][0]
    alike = [data for data in some if len(data) == usual][:_FOR_FORM]
    return stored.find(alike)


def _equals(sample: Sample, data: bytes, wanted: Form) -> bool:
    reference: NDArray[Any] = sample.reference
    if wanted == stored.standard():
        return data == normalise(sample.reference).tobytes()
    return wanted == stored.standard(np.dtype("|u1")) and data == reference.tobytes()


def _own(able: Sequence[Sample], result: Explanation) -> None:
    """Give each file to the image that it is of, where many lie under the name of another one."""
    found = owners.find(able)
    if len(found) < _MANY * len(able):
        return  # a few are told from pictures that only look alike once the recipe is known
    result.moved = owners.say(found, able, ".bin file")
    given = [sample.given for sample in able]
    for place in found:
        able[place].given = None
    for place, owner in found.items():
        able[owner].given = given[place]


def _search(able: Sequence[Sample], result: Explanation) -> None:
    """Find the recipe on a few pictures, and see for how many it holds."""
    form = result.form
    if form is None:
        return
    with_files = [sample for sample in able if sample.given is not None]
    few = samples.for_search(with_files, PICTURES)
    result.flat = not few
    exact = HALF_EXACT if form.dtype.itemsize == 2 and form.dtype.kind == "f" else EXACT
    progress.note(f"searching for what explains the .bin files, on {len(few)} images")
    search = Search(few, form.side, exact)
    found = search.run()
    if found is None or found.rms > _STRANGE:
        return
    if found.exact:
        found = search.widened(found, samples.for_search(with_files, 4 * PICTURES))
    result.found = found
    result.colourful = found.fit.decisive
    slack = 0.0 if found.exact else min(3 * found.rms, 8.0)
    result.named = values.name(found.fit, slack=slack)
    _verify(with_files, result, found, exact)


def _verify(able: Sequence[Sample], result: Explanation, found: Found, exact: float) -> None:
    """Count the images that the recipe explains; look at the others one by one."""
    # Without an exact recipe an image is explained where it leaves about what it leaves elsewhere.
    limit = exact if found.exact else max(4 * found.rms, 1.0)
    is_usual = found.recipe == Recipe()
    odd: list[Sample] = []
    most, sums = [], []
    with progress.track("comparing the .bin files", len(able), "images") as done:
        for number, sample in enumerate(able, 1):
            greatest, mean = leaves(sample, found.recipe, found.fit)
            good = greatest <= limit if found.exact else mean <= limit
            # Another library's weights may round a value in a thousand otherwise.
            good = good or (not is_usual and greatest <= _NEARLY[0] and mean <= _NEARLY[1])
            if good:
                most.append(greatest)
                sums.append(mean)
            elif sample.pixels(found.recipe) is not None:
                odd.append(sample)
            sample.kitchen.forget()
            done(number)
    strangers = _strangers(odd, able, found, limit)
    if strangers:
        result.moved = "; ".join(
            filter(None, (result.moved, owners.say(strangers, able, ".bin file")))
        )
    odd = [sample for sample in odd if able.index(sample) not in strangers]
    result.explained = len(most)
    result.greatest = max(most, default=0.0)
    result.mean = float(np.mean(sums)) if sums else 0.0
    result.odd = _decoders(odd[:_MOST_ALONE], found, limit) | {
        sample.stem: None for sample in odd[_MOST_ALONE:]
    }
    result.kinds = Counter(sample.kind for sample in odd)


def _strangers(
    odd: Sequence[Sample], able: Sequence[Sample], found: Found, limit: float
) -> dict[int, int]:
    """Return which odd files are explained by another image, by their positions in `able`."""
    moved = {}
    for sample in odd[:_MOST_ALONE]:
        for other in owners.nearest(sample, able, "", _CANDIDATES):
            if other is sample or sample.given is None:
                continue
            pixels = other.pixels(found.recipe)
            if pixels is None or pixels.shape[:2] != sample.given.shape[1:]:
                continue
            rest = found.fit.left(sample.given, pixels)
            if (rest.max() if found.exact else rest.mean()) <= limit:
                moved[able.index(sample)] = able.index(other)
                break
    return moved


def _decoders(odd: Sequence[Sample], found: Found, limit: float) -> dict[str, str | None]:
    """Return for each odd image a decoder that explains it; the same for as many as possible."""
    does: dict[str, set[str]] = {}
    for decoder in DECODERS:
        if decoder in (USUAL_DECODER, found.recipe.decoder):
            continue
        recipe = found.recipe.with_(decoder=decoder)
        does[decoder] = {s.stem for s in odd if _explains(s, recipe, found.fit, limit)}
    explained: dict[str, str | None] = {sample.stem: None for sample in odd}
    while does:
        best = max(does, key=lambda name: len(does[name]))
        for stem in does.pop(best):
            explained[stem] = explained[stem] or best
        for stems in does.values():
            stems -= {stem for stem, decoder in explained.items() if decoder}
        does = {name: stems for name, stems in does.items() if stems}
    return explained


def _explains(sample: Sample, recipe: Recipe, fit: Fit, limit: float) -> bool:
    return leaves(sample, recipe, fit)[0] <= limit
