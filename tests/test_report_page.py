"""The report's page in a browser: what can be clicked, both languages, any screen, paper."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page
from sklearn.metrics import confusion_matrix  # type: ignore[import-untyped]

from tests import browser as programs
from tests import report_works
from tests.conftest import PROJECT
from tests.report_works import CLASSES, Work

CHINESE = re.compile("[\u4e00-\u9fff]")

pytestmark = pytest.mark.skipif(programs.PROGRAM is None, reason=programs.MISSING)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Work:
    made = report_works.make(tmp_path_factory.mktemp("page") / "work")
    report_works.report(made.folder)
    return made


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with programs.running() as found:
        yield found


class Opened:
    """A page, and what it has said and asked for meanwhile."""

    def __init__(self, page: Page, file: Path) -> None:
        self.page = page
        self.said: list[str] = []
        self.asked: list[str] = []
        page.on("console", lambda message: self.said.append(message.text))
        page.on("pageerror", lambda error: self.said.append(str(error)))
        page.on("dialog", lambda dialog: self.said.append(dialog.message))
        page.on("request", lambda request: self.asked.append(request.url))
        page.goto(file.as_uri())

    def check(self, file: Path) -> None:
        """See that nothing went wrong and nothing was asked for but the file itself."""
        assert self.said == []
        assert [url for url in self.asked if not url.startswith("data:")] == [file.as_uri()]


@pytest.fixture
def opened(browser: Browser, work: Work) -> Iterator[Page]:
    """The report in a fresh window; at the end, nothing must have gone wrong in it."""
    context = browser.new_context(locale="en-GB")
    found = Opened(context.new_page(), work.folder / "report.html")
    yield found.page
    found.check(work.folder / "report.html")
    context.close()


def column(page: Page, number: int) -> list[str]:
    """Return the texts of a column of the table of classes, from 1."""
    cells = page.locator(f"#class-table tbody tr :nth-child({number}):is(td, th)")
    return [text.strip() for text in cells.all_inner_texts()]


def reckoned(work: Work) -> dict[int, tuple[int, float]]:
    """Return images and Top1 in percent of each class, by scikit-learn."""
    matrix = confusion_matrix(work.labels, work.answers, labels=range(CLASSES))
    return {
        label: (int(row.sum()), 100 * row[label] / row.sum())
        for label, row in enumerate(matrix)
        if row.sum()
    }


def test_a_click_sorts_the_classes(opened: Page, work: Work) -> None:
    classes = reckoned(work)
    head = opened.locator("#class-table thead th", has_text="Top1")
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "descending"
    labels = [int(text) for text in column(opened, 1)]
    shown = [classes[label][1] for label in labels]
    assert sorted(labels) == sorted(classes)
    assert shown == sorted(shown, reverse=True) != sorted(shown)
    assert [float(text) for text in column(opened, 5)] == pytest.approx(shown, abs=0.005)
    head.get_by_role("button").press("Enter")  # by the keyboard as well
    assert head.get_attribute("aria-sort") == "ascending"
    shown = [classes[int(label)][1] for label in column(opened, 1)]
    assert shown == sorted(shown)


def test_a_click_sorts_names_and_numbers_each_in_their_way(opened: Page, work: Work) -> None:
    heads = opened.locator("#class-table thead th")
    heads.nth(0).get_by_role("button").click()
    assert column(opened, 1) == [str(label) for label in sorted(reckoned(work), reverse=True)]
    heads.nth(1).get_by_role("button").click()
    names = column(opened, 2)
    assert names == sorted(names)
    assert "class 10" in names and names.index("class 10") < names.index("class 2")
    sorts = [heads.nth(n).get_attribute("aria-sort") for n in range(heads.count())]
    assert sorts == [None, "ascending", *[None] * (len(sorts) - 2)]


def test_the_filter_shows_what_fits(opened: Page) -> None:
    rows = opened.locator("#class-table tbody tr:visible")
    before = rows.count()
    opened.get_by_label("Filter").fill("class 1")
    assert column_of(rows) and all("class 1" in name for name in column_of(rows))
    assert 0 < rows.count() < before
    opened.get_by_label("Filter").fill("no such class")
    assert rows.count() == 0
    assert opened.get_by_text("No class fits.").is_visible()
    opened.get_by_label("Filter").fill("")
    assert rows.count() == before


def column_of(rows: Any) -> list[str]:
    return list(rows.locator("th").all_inner_texts())


def test_the_gallery_opens_turns_and_closes(opened: Page, work: Work) -> None:
    cards = opened.locator(".wrong")
    wrong = report_works.data(work.folder)["per_class"]["wrong"]
    assert cards.count() == len(wrong) == np.count_nonzero(work.answers != work.labels)
    dialog = opened.locator("dialog")
    assert not dialog.is_visible()
    cards.nth(1).get_by_role("button").click()
    assert dialog.is_visible()
    for place in (1, 2, 1):
        text = dialog.inner_text()
        one = wrong[place]
        assert f"{one['image']}.png" in text
        assert f"the label is answer no. {one['rank']}" in text
        for guess in one["guesses"]:
            assert guess["name"] in text
            assert f"{100 * guess['probability']:.1f} %" in text
        opened.keyboard.press("ArrowRight" if place == 1 else "ArrowLeft")
    dialog.get_by_role("button", name="Next").click()
    dialog.get_by_role("button", name="Close").click()
    assert not dialog.is_visible()
    cards.nth(0).get_by_role("button").press("Enter")
    assert dialog.is_visible()
    assert dialog.locator("img").evaluate("image => image.naturalWidth") == 224
    opened.keyboard.press("Escape")
    assert not dialog.is_visible()


def test_the_language_can_be_changed_and_says_the_same_figures(opened: Page) -> None:
    english = opened.locator("main").inner_text()
    assert not CHINESE.search(english)
    opened.get_by_role("button", name="\u4e2d\u6587").click()
    assert opened.evaluate("document.documentElement.lang") == "zh-CN"
    chinese = opened.locator("main").inner_text()
    figures = re.compile(r"\b[0-9][0-9,]*\.[0-9]+")
    assert figures.findall(chinese) == figures.findall(english)
    for heading in opened.get_by_role("heading", level=2).all_inner_texts():
        assert CHINESE.search(heading)
    axis = opened.locator("svg text", has_text="\u79d2").first
    assert axis.is_visible()
    opened.get_by_role("button", name="English").click()
    assert opened.locator("main").inner_text() == english


def test_the_theme_can_be_changed(opened: Page) -> None:
    def paper() -> str:
        found: str = opened.evaluate("getComputedStyle(document.body).backgroundColor")
        return found

    light = paper()
    opened.get_by_role("button", name="Theme").click()
    dark = paper()
    assert (
        max(map(int, re.findall("[0-9]+", dark))) < 60 < min(map(int, re.findall("[0-9]+", light)))
    )
    opened.get_by_role("button", name="Theme").click()
    assert paper() == light


def test_the_commands_can_be_copied(browser: Browser, work: Work) -> None:
    context = browser.new_context(permissions=["clipboard-read", "clipboard-write"])
    page = context.new_page()
    page.goto((work.folder / "report.html").as_uri())
    page.get_by_role("button", name="Copy").click()
    page.get_by_role("button", name="Copied").wait_for()
    commands = report_works.data(work.folder)["ran"]["commands"]
    copied = page.evaluate("navigator.clipboard.readText()").strip().splitlines()
    assert copied == commands
    context.close()


@pytest.mark.parametrize(
    ("scheme", "width", "locale"),
    [
        ("light", 360, "zh-CN"),
        ("dark", 360, "en-GB"),
        ("light", 768, "en-GB"),
        ("light", 1280, "zh-CN"),
        ("dark", 1280, "en-GB"),
    ],
)
def test_every_screen_has_all_of_it(
    browser: Browser, work: Work, scheme: Any, width: int, locale: str
) -> None:
    size: Any = {"width": width, "height": 800}
    context = browser.new_context(color_scheme=scheme, viewport=size, locale=locale)
    found = Opened(context.new_page(), work.folder / "report.html")
    page = found.page
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate("document.documentElement.lang") == (
        "zh-CN" if locale == "zh-CN" else "en"
    )
    assert page.evaluate(CONTRASTS) == []
    found.check(work.folder / "report.html")
    context.close()


# Texts whose contrast with what is behind them is below 4.5 : 1, or 3 : 1 where they are large.
# Source: Web Content Accessibility Guidelines 2.2, 1.4.3, and its definition of relative luminance.
CONTRASTS = """() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgba = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const luminance = ([r, g, b]) => {
    const part = (v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
    return 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
  };
  const behind = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const colour = rgba(getComputedStyle(e).backgroundColor);
      if (colour[3] === 255) return colour;
    }
    return [255, 255, 255, 255];
  };
  const poor = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!own || !element.checkVisibility() || element.closest(".icons, script")) continue;
    const style = getComputedStyle(element);
    const ink = element.closest("svg") ? style.fill : style.color;
    const [a, b] = [luminance(rgba(ink)), luminance(behind(element))].sort((x, y) => y - x);
    const large = parseFloat(style.fontSize) >= 24;
    if ((a + 0.05) / (b + 0.05) < (large ? 3 : 4.5)) {
      poor.push(`${element.tagName} ${element.textContent.trim().slice(0, 30)}`);
    }
  }
  return poor;
}"""


def test_without_javascript_all_data_are_there(browser: Browser, work: Work) -> None:
    context = browser.new_context(java_script_enabled=False, locale="zh-CN")
    found = Opened(context.new_page(), work.folder / "report.html")
    page = found.page
    text = page.locator("body").inner_text()
    assert not CHINESE.search(text)
    data = report_works.data(work.folder)
    for one in data["per_class"]["wrong"]:
        assert one["image"] in text
    assert page.locator("#class-table tbody tr:visible").count() == len(reckoned(work))
    assert not page.get_by_role("button").all()
    found.check(work.folder / "report.html")
    context.close()


def test_it_prints_on_white_without_what_is_clicked(
    browser: Browser, work: Work, tmp_path: Path
) -> None:
    context = browser.new_context(color_scheme="dark")
    page = context.new_page()
    page.goto((work.folder / "report.html").as_uri())
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    for name in ("Theme", "Copy", "\u4e2d\u6587"):
        assert not page.get_by_role("button", name=name).is_visible()
    assert not page.get_by_label("Filter").is_visible()
    assert page.get_by_text("On paper the first 40 rows").is_visible()
    page.pdf(path=str(tmp_path / "report.pdf"), format="A4")
    sheets = len(re.findall(rb"/Type\s*/Page\b", (tmp_path / "report.pdf").read_bytes()))
    assert 4 <= sheets <= 20
    context.close()


def test_a_script_makes_the_pictures_of_the_readmes(work: Work, tmp_path: Path) -> None:
    out = tmp_path / "pictures"
    script = PROJECT / "docs" / "make_pictures.py"
    words = [sys.executable, str(script), str(work.folder), "--out", str(out)]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    means = []
    for name in ("report-light.png", "report-dark.png"):
        assert (out / name).stat().st_size < 300_000
        with Image.open(out / name) as picture:
            assert picture.width == 2240 and 1000 < picture.height < 3000
            means.append(np.asarray(picture.convert("L")).mean())
    assert means[0] > 200 and means[1] < 60
    assert sorted(path.name for path in out.iterdir()) == ["report-dark.png", "report-light.png"]
