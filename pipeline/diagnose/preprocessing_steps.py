"""The steps of the preprocessing in words: what was given, what the reference is, what to do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np

from pipeline.diagnose import stored, values
from pipeline.diagnose.decoders import USUAL_DECODER
from pipeline.diagnose.filters import USUAL_FILTER
from pipeline.diagnose.findings import DIFFERS, EXPLAINED, PREPROCESSING, SAME, Step, skipped, some
from pipeline.diagnose.preprocessing import Explanation
from pipeline.diagnose.recipes import EXCHANGED, USUAL_SIZE, Recipe
from pipeline.diagnose.search import EXACT, Found
from pipeline.diagnose.stored import Form
from pipeline.diagnose.values import Named
from pipeline.imagenet import CROP, MEAN, RESIZE, STD

OWNERS = "names"
_GIVE = "give --bins, the folder of another pipeline's .bin files, or their --info"
_ROUNDING = (3.5, 0.35)  # greatest and mean levels that another rounding makes
_SHOWN = 3
_ADVICE = {
    "decoding": "decode with Image.open(path).convert('RGB'), and nothing else",
    "channel order": "convert with image.convert('RGB'), or swap the channels after cv2.imread",
    "resize": f"use torchvision's Resize({RESIZE}) on a PIL image (bilinear with antialias)",
    "crop": f"use CenterCrop({CROP}) after Resize({RESIZE}), and no flip",
    "scale": "divide the pixels by 255 once, as ToTensor does",
    "mean and std": f"apply Normalize(mean={MEAN}, std={STD}) in the order R, G, B",
}
# What to add where a decoder's name has the word.
_DECODING = (
    ("JPEG compression", "of the original files, not of copies that were saved as JPEG again"),
    ("scales", "at full size: without Image.draft"),
    ("reduced", "at full size: without IMREAD_REDUCED_COLOR"),
    ("OpenCV", "cv2.imread turns by EXIF and reads CMYK and 16 bits otherwise"),
    ("EXIF", "without ImageOps.exif_transpose: the network was trained without it"),
    ("transparent", "which leaves transparency out"),
)


def steps(found: Explanation | None) -> list[Step]:
    """Return the steps from decoding to dtype; without files none is examined."""
    if found is None:
        return [skipped(name, _GIVE) for name in PREPROCESSING]
    if found.form is None:
        return _unreadable(found)
    if found.same:
        amount = f"{found.equal} of {found.compared} images"
        return [Step(name, SAME, amount, "equal to the last bit") for name in PREPROCESSING]
    if found.found is None or found.named is None:
        return _unexplained(found)
    return list(_explained(found, found.found, found.named))


def owners_step(found: Explanation | None) -> Step:
    """Return the step that says whether each file is of the image whose name it has."""
    if found is None or found.form is None:
        return skipped(OWNERS, _GIVE if found is None else "the files cannot be read as pictures")
    if not found.moved:
        return Step(OWNERS, SAME, f"{found.compared} images", "each file is of its image")
    return Step(
        OWNERS,
        EXPLAINED,
        "",
        found.moved,
        f"the names of the .bin files are wrong: {found.moved}",
        "write each file under the name of the image that it was made of",
    )


def _unreadable(found: Explanation) -> list[Step]:
    said = f"the .bin files hold no pictures, by whatever dtype they are read ({found.expected})"
    last = Step(
        "dtype", DIFFERS, "", said, said, f"write {found.expected} with ndarray.tofile, no header"
    )
    return [*(skipped(name, "the files cannot be read") for name in PREPROCESSING[:-1]), last]


def _unexplained(found: Explanation) -> list[Step]:
    amount = f"{found.equal} of {found.compared} images equal"
    said = "the .bin files follow from the images by no recipe that is known"
    if found.flat:
        said = (
            "the .bin files differ, and the images are of one colour each, which does not tell why"
        )
    first = Step(
        PREPROCESSING[0],
        DIFFERS,
        amount,
        said,
        said,
        "see whether they are of these images, and make them with vovnet_torch_preprocess.py",
    )
    rest = [skipped(name, "the pixels before it are unknown") for name in PREPROCESSING[1:6]]
    return [first, *rest, *_bytes(found)]


def _explained(found: Explanation, best: Found, named: Named) -> Iterator[Step]:
    """Yield the steps by the recipe; every one that differs has the whole of it to say."""
    recipe, usual = best.recipe, Recipe(side=best.recipe.side)
    is_pixels = found.form is not None and found.form.dtype == np.uint8
    differing = dict(_differences(found, best, named, is_pixels))
    reach = _reach(found, best)
    whole = f"the .bin files were made with {_list(list(differing.values()))} ({reach})"
    broken = [stem for stem, decoder in found.odd.items() if decoder is None]
    if list(differing) == ["decoding"] and recipe == usual and len(broken) == len(found.odd) > 0:
        whole = (
            f"the .bin files of {_some(broken)} are not what the images give, and the others are"
            f" ({reach})"
        )
    what = {
        "decoding": recipe.decoder,
        "channel order": values.channels(best.fit.order),
        "resize": f"{recipe.size}, {recipe.filter}",
        "crop": recipe.crop,
        "scale": named.scale,
        "mean and std": named.pair,
    }
    figures = {"levels_greatest": found.greatest, "levels_mean": found.mean}
    for name in PREPROCESSING[:6]:
        if name in differing:
            verdict = (
                EXPLAINED if best.exact or recipe != usual or name in PREPROCESSING[4:] else DIFFERS
            )
            extra: dict[str, Any] = dict(figures)
            if name == "mean and std":
                extra |= {"mean": named.mean, "std": named.std}
            advice = _ADVICE[name]
            if name == "decoding":
                used = [recipe.decoder, *filter(None, found.odd.values())]
                hints = [hint for word, hint in _DECODING if any(word in one for one in used)]
                advice = f"{advice}{''.join(f' ({hint})' for hint in hints[:1])}"
            if "are not what the images give" in whole:
                advice = "prepare these images anew"
            if name in PREPROCESSING[4:] and is_pixels:
                advice = "write the uint8 pixels as they are: the model normalises them itself"
            yield Step(name, verdict, reach, differing[name], whole, advice, extra)
        elif name == "channel order" and not found.colourful:
            yield skipped(name, "no image here has colours that tell")
        else:
            yield Step(name, SAME, "", what[name])
    yield from _bytes(found, whole if differing else "")


def _differences(
    found: Explanation, best: Found, named: Named, is_pixels: bool
) -> Iterator[tuple[str, str]]:
    """Yield the steps that differ, each with a phrase that follows `made with`."""
    recipe = best.recipe
    decoders = Counter(decoder for decoder in found.odd.values() if decoder)
    unknown = [stem for stem, decoder in found.odd.items() if decoder is None]
    phrases = []
    if recipe.decoder != USUAL_DECODER:
        phrases.append(_decoder(recipe.decoder))
    for decoder, count in decoders.items():
        kinds = ", ".join(list(found.kinds)[:_SHOWN])
        phrases.append(
            f"{_decoder(decoder)} (seen in {count} image{'s' if count > 1 else ''}: {kinds})"
        )
    if unknown:
        phrases.append(f"other pixels of no known cause in {_some(unknown)}")
    moved = recipe.with_(decoder=USUAL_DECODER) != Recipe(side=recipe.side)
    rounding = found.greatest <= _ROUNDING[0] and found.mean <= _ROUNDING[1]
    if not best.exact and not phrases and not moved and not rounding:
        phrases.append(f"other pixels of no known cause, by {found.mean:.2g} levels on average")
    if phrases:
        yield "decoding", _list(phrases)
    if found.colourful and best.fit.order != (0, 1, 2):
        yield "channel order", f"{values.channels(best.fit.order)} channels instead of RGB"
    size_differs = recipe.size != USUAL_SIZE or recipe.filter != USUAL_FILTER
    if size_differs:
        yield "resize", _resize(recipe)
    elif not best.exact and rounding and not phrases and not moved:
        yield (
            "resize",
            (
                "another rounding of the same resize, as torchvision's on tensors or Pillow-SIMD's,"
                " too little to cost accuracy"
            ),
        )
    placed = recipe.with_(turn="") if recipe.turn == EXCHANGED else recipe
    if placed.crop != Recipe().crop or recipe.side != CROP:
        side = f" of {recipe.side}x{recipe.side}" if recipe.side != CROP else ""
        yield "crop", f"another crop{side}: {placed.crop}"
    yield from _value_differences(best, named, is_pixels)


def _value_differences(best: Found, named: Named, is_pixels: bool) -> Iterator[tuple[str, str]]:
    scale = "0 to 255, not divided by 255" if is_pixels else values.USUAL_SCALE
    pair = values.NOTHING if is_pixels else values.USUAL_PAIR
    if named.scale != scale:
        yield "scale", f"the scale {named.scale}"
    permuted = named.order not in ((0, 1, 2), best.fit.order)
    if named.pair != pair:
        yield "mean and std", f"{named.pair} instead of {pair}"
    elif permuted and not is_pixels:
        yield "mean and std", f"mean and std in the order {values.channels(named.order)}"


def _bytes(found: Explanation, whole: str = "") -> Iterator[Step]:
    """Yield the steps layout and dtype, which are known from the bytes."""
    form, wanted = found.form, found.expected
    if form is None:
        return
    exchanged = found.found is not None and found.found.recipe.turn == EXCHANGED
    kinds = (stored.standard(), stored.standard(np.dtype("|u1")))
    if form != wanted and form in kinds and wanted in kinds and not exchanged:
        yield from _other_kind(form, wanted, whole)
        return
    if (form.layout, form.channels) == (wanted.layout, 3) and not exchanged:
        yield Step("layout", SAME, "", f"{form}")
    else:
        layout = form.layout.replace("HW", "WH") if exchanged else form.layout
        said = f"the .bin files are laid out as {layout} where {wanted.layout} is expected"
        if form.channels != 3:
            said = f"the .bin files have {form.channels} channel where 3 are expected"
        how = "transpose((2, 0, 1))" if wanted.layout == stored.CHW else "transpose((1, 2, 0))"
        if layout == "CWH":
            how = "transpose((0, 2, 1))"
        yield Step(
            "layout", EXPLAINED, str(form), said, _both(said, whole), f"apply {how} before tofile"
        )
    if form.dtype == wanted.dtype and not form.skip:
        yield Step("dtype", SAME, "", f"{form}")
        return
    said = f"the .bin files hold {stored.name_of(form.dtype)} where {wanted.dtype.name} is expected"
    how = f"apply astype('{wanted.dtype.str}') before tofile"
    if form.skip:
        said = f"the .bin files begin with a NumPy header of {form.skip} bytes"
        how = "write with ndarray.tofile instead of numpy.save"
    yield Step("dtype", EXPLAINED, str(form), said, _both(said, whole), how)


def _other_kind(form: Form, wanted: Form, whole: str) -> Iterator[Step]:
    """Yield the steps where tensors were prepared for a model of pixels, or the reverse."""
    said = f"the .bin files are {form} and the model takes {wanted}"
    option = "--dtype uint8" if wanted.dtype == np.uint8 else "--dtype float32"
    advice = f"prepare them with vovnet_torch_preprocess.py {option}, or give the other model"
    for name in PREPROCESSING[6:]:
        yield Step(name, EXPLAINED, str(form), said, _both(said, whole), advice)


def _both(said: str, whole: str) -> str:
    if whole.startswith("the .bin files were"):
        return f"{said}, and {whole.removeprefix('the .bin files ')}"
    return said


def _resize(recipe: Recipe) -> str:
    size = f"{recipe.size} instead of Resize({RESIZE})"
    filters = f"{recipe.filter} instead of {USUAL_FILTER} in the resize"
    if recipe.size == USUAL_SIZE:
        return filters
    return size if recipe.filter == USUAL_FILTER else f"{size} and {filters}"


def _decoder(name: str) -> str:
    return f"the decoder {name}" if name.startswith("OpenCV") else name


def _reach(found: Explanation, best: Found) -> str:
    known = found.explained + sum(decoder is not None for decoder in found.odd.values())
    count = f"{known} of {found.compared} images"
    if best.exact or found.greatest <= EXACT:
        return f"{count} explained to rounding"
    return f"{count} explained but for {found.mean:.2g} levels on average"


def _list(phrases: list[str]) -> str:
    if len(phrases) < 2:
        return "".join(phrases) or "nothing else"
    return f"{', '.join(phrases[:-1])} and {phrases[-1]}"


def _some(names: list[str]) -> str:
    noun = "image" if len(names) == 1 else "images"
    return f"{len(names)} {noun} ({some(names)})"
