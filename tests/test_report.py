"""The report of a work folder, through the command line: what it says, in every form, and of what.

Figures per class are compared with scikit-learn's, which has no part in making them.
"""

from __future__ import annotations

import csv
import hashlib
import html
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, top_k_accuracy_score  # type: ignore[import-untyped]

from pipeline import identity, lock, record, scoring
from pipeline.formats import perf
from tests import report_works
from tests.report_works import CLASSES, HOSTILE, IMAGES, Work, report, verdict

SHOWN_HOSTILE = HOSTILE
SHOWN_NO_UTF8 = r"caf\udce9"
FORMS = ("html", "json", "md")
TABLES = ("runs", "classes", "wrong")


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Work:
    """A real run of a small model, with its report."""
    made = report_works.make(tmp_path_factory.mktemp("report") / "a work")
    report(made.folder)
    return made


@pytest.fixture(scope="module")
def found(work: Work) -> Any:
    return report_works.data(work.folder)


@pytest.fixture(scope="module")
def text(work: Work) -> str:
    return (work.folder / "report.html").read_text(encoding="utf-8")


class Page(HTMLParser):
    """What a page consists of: its elements, and whether each is closed."""

    VOID = frozenset(("meta", "link", "img", "input", "br"))

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def rows(folder: Path, table: str, stem: str = "report") -> list[dict[str, str]]:
    with (folder / f"{stem}_{table}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def images_of(work: Work) -> list[str]:
    """Return the images' names as a report shows them."""
    return [SHOWN_NO_UTF8 if "\udce9" in name else name for name in work.names]


# What it says


def test_classes_are_counted_as_scikit_learn_counts_them(work: Work, found: Any) -> None:
    matrix = confusion_matrix(work.labels, work.answers, labels=range(CLASSES))
    classes = {one["label"]: one for one in found["per_class"]["classes"]}
    assert sorted(classes) == sorted(set(work.labels.tolist()))
    for label, one in classes.items():
        own = work.labels == label
        assert one["images"] == matrix[label].sum() == own.sum()
        assert one["right"] == matrix[label, label]
        assert one["top1_percent"] == pytest.approx(
            100 * matrix[label, label] / own.sum(), abs=1e-4
        )
        top5 = top_k_accuracy_score(
            work.labels[own], work.scores[own], k=5, labels=range(CLASSES), normalize=False
        )
        assert one["right_top5"] == top5
    lowest = [one["top1_percent"] for one in found["per_class"]["classes"]]
    assert lowest == sorted(lowest)


def test_confusions_are_those_of_scikit_learns_matrix(work: Work, found: Any) -> None:
    matrix = confusion_matrix(work.labels, work.answers, labels=range(CLASSES))
    confusions = found["per_class"]["confusions"]
    pairs = {(one["label"], one["answer"]): one["images"] for one in confusions}
    np.fill_diagonal(matrix, 0)
    assert pairs == {tuple(pair): matrix[tuple(pair)] for pair in np.argwhere(matrix).tolist()}
    counts = [one["images"] for one in confusions]
    assert counts == sorted(counts, reverse=True)
    names = images_of(work)
    for one in confusions:
        own = (work.labels == one["label"]) & (work.answers == one["answer"])
        assert set(one["examples"]) <= {names[row] for row in np.flatnonzero(own)}


def test_the_matrix_has_the_shares_of_each_label(work: Work, found: Any) -> None:
    labels = sorted(set(work.labels.tolist()))
    matrix = confusion_matrix(work.labels, work.answers, labels=range(CLASSES), normalize="true")
    shown = np.array(found["per_class"]["matrix"]["percent"])
    assert shown.shape == (len(labels), len(labels) + 1)
    assert shown[:, :-1] == pytest.approx(100 * matrix[np.ix_(labels, labels)], abs=1e-3)
    assert shown.sum(axis=1) == pytest.approx(100, abs=1e-2)


def test_wrong_images_have_their_guesses_the_most_confident_first(work: Work, found: Any) -> None:
    wrong = found["per_class"]["wrong"]
    names = images_of(work)
    missed = np.flatnonzero(work.answers != work.labels)
    assert {one["image"] for one in wrong} == {names[row] for row in missed}
    shares = np.exp(work.scores.astype(np.float64))
    shares /= shares.sum(axis=1, keepdims=True)
    for one in wrong:
        row = names.index(one["image"])
        order = np.argsort(-work.scores[row])
        assert [guess["label"] for guess in one["guesses"]] == order[:5].tolist()
        told = [guess["probability"] for guess in one["guesses"]]
        assert told == pytest.approx(shares[row, order[:5]], abs=2e-4)
        assert one["rank"] == order.tolist().index(work.labels[row]) + 1
        assert one["label"] == work.labels[row]
    confident = [one["guesses"][0]["probability"] for one in wrong]
    assert confident == sorted(confident, reverse=True)


def test_each_run_has_its_accuracy_its_intervals_and_its_rates(work: Work, found: Any) -> None:
    assert [run["batch_size"] for run in found["runs"]] == [1, 4]
    for device, run in enumerate(found["runs"]):
        for top in run["top"]:
            count = top_k_accuracy_score(
                *(work.labels, work.scores), k=top["places"], labels=range(CLASSES), normalize=False
            )
            assert top["percent"] == round(100 * count / IMAGES, 2)
            ends = scoring.wilson_interval(int(count), IMAGES)
            told = [top["low_percent"], top["high_percent"]]
            assert told == pytest.approx([100 * end for end in ends], abs=1e-3)
        name = perf.perf_name("vision", run["batch_size"], device)
        figures = perf.from_text((work.folder / "result" / name).read_text())
        assert isinstance(figures, perf.DatasetPerf)
        assert run["chip_images_per_s"] == run["card_images_per_s"] == figures.interface_rate
        assert run["end_to_end_images_per_s"] == figures.e2e_rate
        assert (run["verdict"], run["on_card"]) == ("SMOKE", False)
        assert run["because"]


def test_time_memory_and_latencies_are_those_of_the_records(work: Work, found: Any) -> None:
    made = record.load(work.folder / "result" / "dumpOutput_device0")
    assert made
    stage = next(one for one in found["stages"] if one["output"] == "result/dumpOutput_device0")
    parts = {part["kind"]: part["seconds"] for part in stage["parts"]}
    assert parts["load"] == made["details"]["load_s"]
    assert parts["timed"] == made["timings_s"]["end_to_end"]
    assert sum(parts.values()) == pytest.approx(
        made["timings_s"]["total"] + made["details"]["load_s"], abs=1e-3
    )
    assert stage["peak_process_bytes"] == made["peak_memory_bytes"]["process"]
    assert len(found["stages"]) == 6  # preprocess, list, two runs, two scores; each once
    latency = found["latencies"][0]
    calls = [value / 1000 for value in made["details"]["latencies_us"]]
    assert latency["calls"] == len(calls) == sum(latency["counts"])
    assert (latency["least_ms"], latency["greatest_ms"]) == (min(calls), max(calls))
    told = {one["name"]: one for one in latency["percentiles"]}
    kept = made["details"]["quotable"]["latency_ms_per_call"]
    assert told["p50"]["at_most_ms"] == pytest.approx(kept["p50"]["at_most_ms"], abs=1e-3)
    # No percentile without calls enough.
    assert (told["p99"]["at_most_ms"], told["p99"]["needs_calls"]) == (None, 662)


def test_what_ran_can_be_run_again(work: Work, found: Any) -> None:
    values = {fact["what"]["en"]: fact["value"] for fact in found["ran"]["facts"]}
    model = (work.folder / "vovnet39.onnx").read_bytes()
    assert values["SHA-256 of the model"] == hashlib.sha256(model).hexdigest()
    assert found["ran"]["folder"] == str(work.folder)
    assert found["ran"]["versions"]["numpy"] == np.__version__
    entered, *commands = found["ran"]["commands"]
    assert entered == f"cd '{work.folder}'"
    scripts = [Path(shlex.split(command)[1]).name for command in commands]
    assert scripts == [
        *("vovnet_torch_preprocess.py", "get_info.py", "benchmark.py", "vision_metric_ImageNet.py"),
        *("benchmark.py", "vision_metric_ImageNet.py"),
    ]
    assert "'my images'" in commands[0]


def test_the_commands_do_run_again(work: Work, tmp_path: Path) -> None:
    folder = copy(work, tmp_path / "caf\udce9's")
    report(folder)
    before = report_works.data(folder)["per_class"]
    for name in ("prep_dataset", "result"):
        shutil.rmtree(folder / name)
    for path in [*folder.glob("result_*"), *folder.glob("prep*")]:
        path.unlink()
    page = (folder / "report.html").read_text()
    commands = html.unescape(re.findall("<pre[^>]*><code>(.*?)</code>", page, re.DOTALL)[0])
    assert commands.startswith("cd $'")
    python = Path(sys.executable).parent
    env = os.environ | {"PATH": f"{python}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-e"], input=commands, cwd="/", env=env, text=True, capture_output=True
    )
    assert done.returncode == 0, done.stderr
    report(folder)
    assert report_works.data(folder)["per_class"] == before


# Its verdicts


def test_verdicts_of_a_run_without_card_and_checkpoint(found: Any) -> None:
    words = {one["subject"]: (one["state"], one["word"]["en"]) for one in found["verdicts"]}
    assert words == {
        "accuracy": ("neutral", "NOT COMPARED"),
        "speed": ("neutral", "NO CARD"),
        "quotable": ("warning", "SMOKE"),
        "chain": ("warning", "UNVERIFIED"),  # the model has no record
        "images": ("good", "COMPLETE"),
    }
    assert verdict(found, "images")["figure"] == f"{IMAGES} / {IMAGES}"
    assert verdict(found, "chain")["because"][0]["en"] == "vovnet39.onnx has no record"


def test_the_sample_is_known_by_its_labels(work: Work, tmp_path: Path) -> None:
    folder = copy(work, tmp_path)
    made = {
        "schema": record.SCHEMA,
        "stage": "sample",
        "status": "complete",
        "outputs": [identity.fingerprint(folder / "val_label.txt")],
        "details": {
            "meaning": "It means this.",
            "kinds": [{"label": 3, "palette": "leaf", "texture": "dots"}],
        },
    }
    record.path_of(folder / "sample").write_text(json.dumps(made))
    report(folder)
    told = report_works.data(folder)
    assert told["meaning"]["en"] == "It means this."
    assert "bundled sample" in verdict(told, "accuracy")["because"][0]["en"]
    assert {one["name"] for one in told["per_class"]["classes"] if one["label"] == 3} == {
        "leaf dots"
    }


def copy(work: Work, target: Path) -> Path:
    """Return a copy of the work folder whose records know no other place."""
    folder = target / "copied work"
    shutil.copytree(work.folder, folder, ignore=shutil.ignore_patterns("report*"))
    for place in folder.rglob(f"*{record.SUFFIX}"):
        made = json.loads(place.read_text())
        place.write_text(json.dumps(made | {"folder": str(folder)}))
    return folder


def test_images_that_were_refused_are_told(work: Work, tmp_path: Path) -> None:
    folder = copy(work, tmp_path)
    place = record.path_of(folder / "prep_dataset")
    made = json.loads(place.read_text())
    made["counts"] |= {"given": IMAGES + 1, "refused": 1}
    made["details"]["refused"] = [{"path": "x.png", "reason": "x.png cannot be decoded: why"}]
    place.write_text(json.dumps(made))
    report(folder)
    found = verdict(report_works.data(folder), "images")
    assert (found["word"]["en"], found["figure"]) == ("INCOMPLETE", f"{IMAGES} / {IMAGES + 1}")
    assert "x.png cannot be decoded: why" in str(found["because"])


# What is not there


@pytest.mark.parametrize(
    ("gone", "part", "why"),
    [
        ("result/dumpOutput_device*", "per_class", "The dumps that were scored are gone"),
        ("val_label.txt", "per_class", "The label file that was scored with is gone"),
        ("my images", "pictures", "the folder of the images, my images, is not there any more"),
    ],
)
def test_what_is_gone_is_said(work: Work, tmp_path: Path, gone: str, part: str, why: str) -> None:
    folder = copy(work, tmp_path)
    for path in list(folder.glob(gone)):
        if path.is_dir():
            shutil.rmtree(path)
        elif not path.name.endswith(record.SUFFIX):
            path.unlink()
    report(folder)
    found = report_works.data(folder)
    assert found["absent"][part]["en"].startswith(why)
    assert [run["batch_size"] for run in found["runs"]] == [1, 4]
    text = (folder / "report.html").read_text()
    assert why in text


def test_images_elsewhere_are_named_by_hand(work: Work, tmp_path: Path) -> None:
    folder, moved = copy(work, tmp_path), tmp_path / "moved"
    (folder / "my images").rename(moved)
    done = report(folder, "--images", moved)
    rows = np.flatnonzero(work.answers != work.labels)
    assert f"{len(rows)} of {len(rows)} wrong images shown" in done.stdout
    missing, broken = [work.names[row] for row in rows if work.names[row].startswith("val")][:2]
    (moved / f"{missing}.png").unlink()
    (moved / f"{broken}.png").write_bytes(b"no picture")
    done = report(folder, "--images", moved)
    assert f"{len(rows) - 2} of {len(rows)} wrong images shown" in done.stdout
    text = (folder / "report.html").read_text()
    assert f"no file of the name {missing} in the folder of images" in text
    assert f"{broken}.png: cannot be decoded: no picture of a known format" in text


def test_images_that_were_changed_since_are_doubted(work: Work, tmp_path: Path) -> None:
    folder = copy(work, tmp_path)
    report(folder)
    assert report_works.data(folder)["remarks"] == []
    (folder / "my images" / "val_000.png").touch()
    report(folder)
    (remark,) = report_works.data(folder)["remarks"]
    assert remark["en"].startswith("The folder of the images, my images, was changed since")


def test_so_many_wrong_images_are_shown_as_asked_for(work: Work, tmp_path: Path) -> None:
    page = tmp_path / "p.html"
    report(work.folder, "--out", page, "--gallery", "3")
    text = page.read_text()
    assert text.count("data:image/jpeg") == 3
    wrong = report_works.data(tmp_path, "p")["per_class"]["wrong"]
    assert re.findall(r'data-image="(val_[0-9]+)"', text) == [
        one["image"] for one in wrong[:3] if one["image"].startswith("val_")
    ]
    report(work.folder, "--out", page, "--gallery", "0")
    assert "data:image/jpeg" not in page.read_text()


# Its forms


def test_all_forms_say_the_same(work: Work, found: Any) -> None:
    classes = rows(work.folder, "classes")
    assert [int(row["label"]) for row in classes] == [
        one["label"] for one in found["per_class"]["classes"]
    ]
    assert [float(row["top1_percent"]) for row in classes] == [
        one["top1_percent"] for one in found["per_class"]["classes"]
    ]
    wrong = rows(work.folder, "wrong")
    assert [row["guess2_class"] for row in wrong] == [
        one["guesses"][1]["name"] for one in found["per_class"]["wrong"]
    ]
    runs = rows(work.folder, "runs")
    assert [float(row["top5_percent"]) for row in runs] == [
        run["top"][4]["percent"] for run in found["runs"]
    ]
    assert [row["because"] for row in runs] == [
        "; ".join(reason["en"] for reason in run["because"]) for run in found["runs"]
    ]


def test_the_markdown_is_tables_of_the_same_figures(work: Work, found: Any) -> None:
    from markdown_it import MarkdownIt

    text = (work.folder / "report.md").read_text()
    page = MarkdownIt("commonmark", {"html": True}).enable("table").render(text)
    cells = re.findall(r"<td>(.*?)</td>", page)
    for run in found["runs"]:
        assert f"{run['top'][0]['percent']:.2f}" in cells
    assert page.count("<table>") == 6
    assert "<script" not in page


def test_the_same_folder_gives_the_same_bytes(work: Work, tmp_path: Path) -> None:
    for name in ("one", "two"):
        report(work.folder, "--out", tmp_path / name / "report.html")
    files = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert files == sorted(
        [f"report.{form}" for form in FORMS] + [f"report_{table}.csv" for table in TABLES]
    )
    for name in files:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    # A report within the folder is no part of what is reported.
    assert (tmp_path / "one" / "report.json").read_text() == (
        work.folder / "report.json"
    ).read_text()


def test_the_page_needs_nothing_but_itself(text: str) -> None:
    page = Page(text)
    for tag, attributes in page.elements:
        for name in ("src", "href", "xlink:href", "srcset", "poster", "data"):
            value = attributes.get(name) or ""
            if tag == "a" and value:
                assert value.startswith("#") or re.fullmatch(r"report(_\w+)?\.\w+", value)
            else:
                assert not value or value.startswith(("#", "data:"))
        assert not [name for name in attributes if name.startswith("on")]
    assert "default-src 'none'" in text
    assert not re.search(r"url\((?!#)|@import|https?://(?!www\.w3\.org)", text)


def test_the_page_can_be_read_by_all(text: str) -> None:
    page = Page(text)
    ids = Counter(value for _, a in page.elements if (value := a.get("id")))
    assert max(ids.values()) == 1
    for tag, attributes in page.elements:
        for name in ("aria-labelledby", "for"):
            assert not attributes.get(name) or attributes[name] in ids
        if tag == "th":
            assert attributes.get("scope") in ("col", "row")
        if tag == "img":
            assert attributes.get("alt")
        if tag == "a" and (attributes.get("href") or "").startswith("#"):
            assert (attributes["href"] or "")[1:] in ids
    tags = [tag for tag, _ in page.elements]
    assert tags.count("h1") == tags.count("main") == 1
    captions = tags.count("caption")
    assert captions == tags.count("table") > 5


def test_names_from_outside_are_no_markup(work: Work, text: str) -> None:
    page = Page(text)
    assert [tag for tag, _ in page.elements].count("script") == 1
    assert f"{SHOWN_HOSTILE}.png" in page.texts
    assert f"{SHOWN_NO_UTF8}.png" in page.texts
    assert SHOWN_HOSTILE in {row["image"] for row in rows(work.folder, "wrong")}


def test_a_spreadsheet_takes_no_name_for_a_formula(work: Work, tmp_path: Path) -> None:
    folder = copy(work, tmp_path)
    place = record.path_of(folder / "prep_dataset")
    made = json.loads(place.read_text())
    made["details"]["classes"] = ["=1+1", "@x", "-2", "+3", "plain", *"abcdefg"]
    place.write_text(json.dumps(made))
    report(folder)
    names = {row["name"] for row in rows(folder, "classes")}
    assert names & {"'=1+1", "'@x", "'-2", "'+3"}
    assert not [name for name in names if name.startswith(("=", "@", "-", "+"))]


def test_a_matplotlibrc_of_the_folder_changes_nothing(work: Work, tmp_path: Path) -> None:
    settings = "text.usetex: True\nsvg.fonttype: path\nlines.linewidth: 40\nfont.size: 3\n"
    (tmp_path / "matplotlibrc").write_text(settings)
    done = report(work.folder, "--out", "report.html", folder=tmp_path)
    assert done.stderr == ""
    own = (work.folder / "report.html").read_bytes()
    assert (tmp_path / "report.html").read_bytes() == own


# How it is called


def test_names_that_are_no_utf8(work: Work, tmp_path: Path) -> None:
    folder = tmp_path / "caf\udce9 work"
    shutil.copytree(work.folder, folder)
    done = report(folder, "--out", folder / "\udce9.html")
    assert done.stdout.endswith("\\udce9.html\n")
    page = (folder / "\udce9.html").read_text(encoding="utf-8")
    assert '<p class="name">caf\\udce9 work</p>' in page
    assert '<a href="%E9.json">\\udce9.json</a>' in page
    assert report_works.data(folder, "\udce9")["name"] == "caf\\udce9 work"


def test_a_report_beside_the_project_and_its_verdict(work: Work, tmp_path: Path) -> None:
    done = report("../a work", "--out", "a folder/page.html", folder=link(work, tmp_path))
    assert re.fullmatch(
        r"OK: 2 runs, (\d+) of \1 wrong images shown, 6 files, [0-9,]+ bytes in [0-9.]+ s -> "
        r"a folder/page\.html\n",
        done.stdout,
    )
    assert done.stderr == ""


def link(work: Work, tmp_path: Path) -> Path:
    (tmp_path / "a work").symlink_to(work.folder)
    (tmp_path / "here").mkdir()
    return tmp_path / "here"


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["{tmp}/nowhere"], 1, "nowhere is no folder; give the one that run_all.sh worked in"),
        (["{tmp}"], 1, "holds neither a score (result*.json) nor a speed (perf_*.txt)"),
        (["{work}", "--out", "{tmp}/x.json"], 1, "name it as X.html"),
        (["{work}", "--out", "{work}/result_bs1.html"], 1, "is the input"),
        (["{work}", "--out", "{work}/val_label.txt"], 1, "is the input"),
        (["{work}", "--out", "/dev/full"], 1, "is no regular file"),
        (["{work}", "--out", "{tmp}"], 1, "is a folder"),
        (["{work}", "--images", "{tmp}"], 1, "holds no image"),
        (["{work}", "--gallery", "-1"], 2, "is not a whole number from 0 to 500"),
        (["{work}", "--galery", "1"], 2, "did you mean --gallery?"),
        (["{work}", "{tmp}"], 2, "unknown argument"),
    ],
)
def test_what_is_wrong_is_one_line(
    work: Work, tmp_path: Path, words: list[str], code: int, said: str
) -> None:
    before = {path: path.stat().st_mtime_ns for path in work.folder.iterdir()}
    filled = [word.format(tmp=tmp_path, work=work.folder) for word in words]
    done = report(*filled, code=code)
    assert done.stderr.count("\n") == 1 and said in done.stderr
    assert done.stdout == ""
    assert {path: path.stat().st_mtime_ns for path in work.folder.iterdir()} == before
    assert list(tmp_path.iterdir()) == []


def test_two_reports_at_once_are_one_too_many(work: Work, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    with lock.holding(page):
        done = report(work.folder, "--out", page, code=1)
    assert f"is being made by process {os.getpid()}" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_without_a_home_it_says_nothing_of_it(work: Work, tmp_path: Path) -> None:
    env = {"HOME": "/proc/nowhere", "XDG_CACHE_HOME": "/proc/no", "XDG_CONFIG_HOME": "/proc/no"}
    done = report(work.folder, "--out", tmp_path / "report.html", env=env)
    assert done.stderr == ""


def test_records_that_are_odd_leave_a_report(work: Work, tmp_path: Path) -> None:
    folder = copy(work, tmp_path)
    for place in sorted(folder.rglob(f"*{record.SUFFIX}")):
        made = json.loads(place.read_text())
        made |= {"timings_s": {"total": "long"}, "started_unix_s": -1, "peak_memory_bytes": [1]}
        made["details"] |= {"top": [float("nan")] * 5, "latencies_us": ["a", -1], "chain": {}}
        made["details"] |= {"machine": 3, "quotable": {"verdict": "SMOKE", "reasons": 4}}
        place.write_text(json.dumps(made))
    (folder / "prep.info.record.json").write_text("{")
    report(folder)
    found = report_works.data(folder)
    assert "prep.info.record.json is not a record of this version" in str(found["remarks"])
    assert [run["top"][0]["percent"] > 0 for run in found["runs"]] == [True, True]
