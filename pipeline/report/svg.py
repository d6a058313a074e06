"""matplotlib figures as SVG within a page: its colours, its fonts, both languages, no date."""

from __future__ import annotations

import functools
import html
import io
import re
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from markupsafe import Markup, escape

from pipeline.report import words
from pipeline.report.words import Text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# What stands in a figure, and the page's variable that takes its place, so that the same picture
# serves light, dark and paper.
INK, FAINT, GRID, ACCENT, SECOND, THIRD, MUTED, OTHER_1, OTHER_2, OTHER_3, PAPER = (
    f"#0{digit}0203" for digit in "123456789ab"
)
_VARIABLES = {
    INK: "--ink",
    FAINT: "--faint",
    GRID: "--line",
    ACCENT: "--accent",
    SECOND: "--second",
    THIRD: "--third",
    MUTED: "--muted",
    OTHER_1: "--other-1",
    OTHER_2: "--other-2",
    OTHER_3: "--other-3",
    PAPER: "--card",
}
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.family": "DejaVu Sans",  # which matplotlib brings; the page's own is put in its place
    "font.size": 11,
    "axes.edgecolor": GRID,
    "axes.labelcolor": FAINT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "text.color": INK,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "axes.axisbelow": True,
}


def drawn(name: str, draw: Callable[[], Figure], texts: Iterable[Text] = ()) -> Markup:
    """Return what `draw` draws; `name` is that of the plot, and no other on the page has it.

    The same figure has the same bytes. What it says in the English of `texts`, or of the table of
    texts for plots, is there in both languages.
    """
    import logging

    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # where its cache lies is no result
    import matplotlib as mpl

    with mpl.rc_context():
        # A matplotlibrc of the user, or of the current folder, is no part of what is reported.
        mpl.rcdefaults()
        mpl.rcParams.update({**_STYLE, "svg.hashsalt": name})
        buffer = io.StringIO()
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        draw().savefig(buffer, format="svg", metadata=nothing)
    both = words.drawn() | {text.en: text.zh for text in texts}
    return Markup(_for_page(buffer.getvalue(), name, both))


def _for_page(text: str, name: str, both: Mapping[str, str]) -> str:
    text = text[text.index("<svg") :]
    # A style element would be that of the whole page.
    text = re.sub(r"<(metadata|style)\b.*?</\1>", "", text, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->\s*", "", text, flags=re.DOTALL)
    width, height = re.findall(r'viewBox="0 0 ([0-9.]+) ([0-9.]+)"', text)[0]
    start = (
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-labelledby="about-{name}"'
        ' xmlns:xlink="http://www.w3.org/1999/xlink">'
    )
    text = re.sub(r"<svg[^>]*>", start, text, count=1)
    for colour, variable in _VARIABLES.items():
        text = text.replace(colour, f"var({variable})")
    text = re.sub(r"font(?:-family)?: (?:[0-9.]+px )?[^;\"]*DejaVu[^;\"]*", _font, text)
    text = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', text)
    text = re.sub(r'href="#([^"]+)"', rf'href="#{name}-\1"', text)
    text = re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", text)
    return re.sub(r"(<text[^>]*>)([^<]*)(</text>)", functools.partial(_in_both, both), text)


def _font(match: re.Match[str]) -> str:
    size = re.search(r"[0-9.]+px", match[0])
    return f"font-size: {size[0]}" if size else "font-weight: inherit"


def _in_both(both: Mapping[str, str], match: re.Match[str]) -> str:
    english = html.unescape(match[2])
    chinese = both.get(english, english)
    if chinese == english:
        return match[0]
    one, other = escape(english), escape(chinese)
    said = f'<tspan lang="en">{one}</tspan><tspan lang="zh-CN">{other}</tspan>'
    return f"{match[1]}{said}{match[3]}"
