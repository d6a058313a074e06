"""`--help` of every front door: at once, whole and true; and what a wrong word is answered."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache

import pytest

from cli import ascend_commands
from pipeline import __main__ as package
from tests.conftest import PROJECT

# What takes long to load; none of it is needed to say what a command does.
HEAVY = frozenset((
    *("numpy", "torch", "torchvision", "cv2", "PIL", "simplejpeg", "scipy", "sklearn", "onnx"),
    *("onnxruntime", "openvino", "rich", "matplotlib", "jinja2", "multiprocessing", "pytest"),
))  # fmt: skip
# Counts that have a unit, by their metavars; S is a seed, D a chip's number.
COUNTED = frozenset(("N", "B", "W", "H", "POINTS"))
UNITS = re.compile(
    r"\b(images|pictures|samples|batches|pixels|processes|threads|KB|points|chips|inferences"
    r"|rounds|inputs|kills|results|tensors)\b"
)

SCRIPTS = sorted(path.name for path in PROJECT.glob("*.py"))
COMMANDS = [name for name in package.COMMANDS if name not in ("current", "ascend")]
BENCHMARKS = sorted(
    path.stem for path in (PROJECT / "benchmarks").glob("*.py") if "door.enter(" in path.read_text()
)
TOOLS = (
    *(("-m", f"benchmarks.{name}") for name in BENCHMARKS),
    ("-m", "tests.faults.fuzz"),
    ("-m", "tests.mutations"),
)
DOORS = (
    *((name,) for name in SCRIPTS),
    *(("-m", "pipeline", name) for name in COMMANDS),
    *(("-m", "pipeline", "ascend", name) for name in ascend_commands._COMMANDS),
    *TOOLS,
)
LISTS = (("-m", "pipeline"), ("-m", "pipeline", "ascend"))


def name_of(words: tuple[str, ...]) -> str:
    return " ".join(word for word in words if word != "-m")


@cache
def answer(words: tuple[str, ...]) -> tuple[str, frozenset[str]]:
    """Return what a command says when asked for help, and which packages it has loaded for it."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *words, "--help"],
        cwd=PROJECT,
        env=os.environ | {"COLUMNS": "1000"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stderr.splitlines()
    loaded = (line.rpartition("|")[2].strip() for line in lines if line.startswith("import time:"))
    assert not [line for line in lines if not line.startswith("import time:")]
    return done.stdout, frozenset(name.partition(".")[0] for name in loaded)


def options(text: str) -> Iterator[tuple[str, str]]:
    """Yield each option's names and metavar, and its help."""
    section = text.partition("\noptions:\n")[2].partition("\n\n")[0]
    for entry in re.split(r"\n(?=  -)", "\n" + section):
        if entry.strip():
            names, help_text = re.split(r"\s{2,}|\n\s+", entry.strip(), maxsplit=1)
            yield names, help_text


@pytest.mark.parametrize("words", [*DOORS, *LISTS], ids=name_of)
def test_help_loads_nothing_that_takes_long(words: tuple[str, ...]) -> None:
    # The tools for those who work on the project may take NumPy's tenth of a second.
    allowed = {"numpy", "PIL", "cv2", "simplejpeg"} if words in TOOLS else set()
    assert not answer(words)[1] & HEAVY - allowed


@pytest.mark.parametrize("words", DOORS, ids=name_of)
def test_help_names_the_command_as_it_is_typed_and_shows_an_example(words: tuple[str, ...]) -> None:
    text = answer(words)[0]
    typed = words[0] if words[0] != "-m" else f"python3 {' '.join(words)}"
    assert text.startswith(f"usage: {typed} ")
    examples = text.partition("\nexample:\n")[2].splitlines()
    assert examples
    assert all(typed in line for line in examples if not line.startswith("      "))


@pytest.mark.parametrize("words", DOORS, ids=name_of)
def test_help_gives_the_default_of_every_option_and_the_unit_of_every_count(
    words: tuple[str, ...],
) -> None:
    silent = []
    for names, help_text in options(answer(words)[0]):
        metavar = names.rpartition(" ")[2]
        if metavar.startswith("-"):
            continue  # it takes no value
        told = "(default: " in help_text or "(required)" in help_text or "; default: " in help_text
        counted = metavar not in COUNTED or UNITS.search(help_text)
        if not (told and counted):
            silent.append(f"{names}: {help_text}")
    assert not silent


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_of_a_script_is_its_docstring(script: str) -> None:
    told = ast.get_docstring(ast.parse((PROJECT / script).read_text()))
    assert told and told in answer((script,))[0]


@pytest.mark.parametrize("words", LISTS, ids=name_of)
def test_list_of_commands_has_each_of_them(words: tuple[str, ...]) -> None:
    commands = package.COMMANDS if len(words) == 2 else ascend_commands._COMMANDS
    listed = re.findall(r"^([a-z]+) +\S", answer(words)[0], re.MULTILINE)
    assert sorted(listed) == sorted(commands)


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *words], cwd=PROJECT, capture_output=True, text=True)


MODEL = ("benchmark.py", "-om_path=x", "-round=1")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((*MODEL, "-engine=Openvin"), "of auto, ascend, onnxruntime, openvino (did you mean"),
        ((*MODEL, "-precision", "fp23"), "not one of fp32, bf16, int8 (did you mean fp32?)"),
        ((*MODEL, "-model_type=visio"), "(did you mean vision?)"),
        ((*MODEL, "-dump=np"), "not one of files, npy (did you mean npy?)"),
        ((*MODEL, "-useDvpp=flase"), "'flase' is not one of true, false (did you mean false?)"),
        ((*MODEL, "-batchsize=1"), "--batchsize=1 (did you mean --batch_size?), the options are"),
        ((*MODEL, "-batch_size=x"), "'x' is not a whole number from 1 to"),
        (("get_info.py", "bim", "a", "b"), "not one of bin, jpg (did you mean bin?)"),
        (("vovnet39_pth2onnx.py", "a", "b", "--arch", "vovnet37"), "(did you mean vovnet"),
        (("vovnet39_pth2onnx.py", "a", "b", "--input", "int8"), "(did you mean uint8?)"),
        (("vovnet39_quantize.py", "a", "b", "c", "--method", "minmx"), "(did you mean minmax?)"),
        (("vovnet39_quantize.py", "a", "b", "c", "--reduce-range", "ys"), "(did you mean yes?)"),
        (("vovnet_torch_preprocess.py", "a", "b", "--dtype", "flaot32"), "(did you mean float32?)"),
        (("vovnet_torch_preprocess.py", "a", "b", "--worker", "2"), "--workers?), the options"),
        (("vision_metric_ImageNet.py", "a", "b", "c", "d", "--image=1"), "you mean --images?"),
        (("perf_report.py", "a", "--chip", "1"), "(did you mean --chips?), the options are --help"),
        (("-m", "pipeline", "sumary"), "not one of sample, current, summary"),
        (("-m", "pipeline", "sumary"), "(did you mean summary?)"),
        (("-m", "pipeline", "judge", "a", "b", "--precision", "bf61"), "(did you mean bf16?)"),
        (("-m", "pipeline", "ascend", "mesure"), "(did you mean measure?)"),
        (("-m", "pipeline", "ascend", "find", "--runner", "tol"), "(did you mean tool?)"),
    ],
)  # fmt: skip
def test_wrong_word_is_answered_with_the_right_ones_and_the_closest(
    words: tuple[str, ...], said: str
) -> None:
    done = run(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "words", [("perf_report.py", "a"), ("-m", "pipeline", "sample", "a"), MODEL]
)
def test_quiet_and_verbose_exclude_each_other(words: tuple[str, ...]) -> None:
    done = run(*words, "-q", "--verbose")
    assert (done.returncode, done.stdout) == (2, "")
    assert "--quiet and --verbose exclude each other" in done.stderr
