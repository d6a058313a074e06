"""`run_all.sh`: the stages by the commands it prints, what it skips, where it stops."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parent.parent
TIME = re.compile(r"in [0-9.]+ s")
BIN = Path(sys.executable).parent

# Each stand-in does what its stage does to the files, keeps the same record, and notes its call.
STAND_IN = """
import json
import os
import sys
import time
from pathlib import Path
sys.path.insert(0, str(Path(__file__).resolve().parent))
from pipeline import record
from pipeline.formats import perf, result

def keep(inputs, outputs, work, **details):
    with record.keeping(record.Run("stand-in", [*map(Path, inputs)], outputs, {})) as run:
        work()
        run.details = details

def flags(argv):
    return dict(word.lstrip("-").split("=", 1) for word in argv if "=" in word)

wait = Path(__file__).with_name("wait.txt")
if wait.exists() and wait.read_text() == Path(sys.argv[0]).name:
    Path("here").write_text(str(os.getpid()))
    try:
        time.sleep(60)
    except KeyboardInterrupt:
        sys.exit(130)
with open(Path(__file__).with_name("calls.txt"), "a") as calls:
    calls.write(json.dumps([Path(sys.argv[0]).name, *sys.argv[1:]]) + "\\n")
fail = Path(__file__).with_name("fail")
if fail.exists() and fail.read_text() == Path(sys.argv[0]).name:
    sys.exit("the stage's own message") if fail.stat().st_mode & 0o100 else sys.exit(7)
"""
STAGES = {
    "vovnet39_pth2onnx.py": """
weights, onnx = sys.argv[1:3]
keep([weights], [Path(onnx)], lambda: Path(onnx).write_bytes(Path(weights).read_bytes()[::-1]))
""",
    "vovnet_torch_preprocess.py": """
source, target = map(Path, sys.argv[1:3])
target.mkdir(exist_ok=True)
def work():
    for image in source.rglob("*.JPEG"):
        (target / f"{image.stem}.bin").write_bytes(image.read_bytes())
    if any(entry.is_dir() for entry in source.iterdir()):
        (target / "val_label.txt").write_text("one 0\\n")
keep([source], [target], work)
""",
    "get_info.py": """
folder, info = map(Path, sys.argv[2:4])
text = "".join(f"{n} {p} 224 224\\n" for n, p in enumerate(sorted(folder.glob("*.bin"))))
keep([folder], [info], lambda: info.write_text(text))
""",
    "benchmark.py": """
given = flags(sys.argv[1:])
batch, device = given["batch_size"], given["device_id"]
dumps = Path(f"result/dumpOutput_device{device}")
figures = Path("result") / perf.perf_name("vision", int(batch), int(device))
dumps.mkdir(parents=True, exist_ok=True)
def work():
    (dumps / "one_1.txt").write_text("0.5 0.25 \\n")
    rate = 10.0 * int(batch)
    figures.write_text(perf.to_text(perf.DatasetPerf(rate, *[1.0] * 6, 2 * rate, *[1.0] * 3)))
how = {"engine": "slide-rule", "engine_version": "1.0", "effective_precision": "fp32", "threads": 3}
inputs = [given["om_path"], given["input_text_path"], "prep_dataset"]
keep(inputs, [dumps, figures], work, **how)
record.copy(dumps, figures)
""",
    "vision_metric_ImageNet.py": """
dumps, labels, folder, name = sys.argv[1:5]
target = Path(folder, name)
text = result.to_text(8, 1000, (0.75, 0.875, 1, 1, 1))
interval = [0.4093, 0.9285]
keep([dumps, labels], [target], lambda: target.write_text(text), top1_interval_95=interval)
""",
    "perf_report.py": """
print("speed of", *(Path(word).exists() for word in sys.argv[1:] if not word.startswith("--")))
""",
}
SAMPLE = '''
"""The stand-in for the sample."""
from pathlib import Path
from pipeline import record

def make_sample(folder, force):
    (folder / "images").mkdir(parents=True, exist_ok=True)
    with record.keeping(record.Run("sample", [], [folder], {})) as run:
        (folder / "images" / "one.JPEG").write_bytes(b"pixels")
        (folder / "val_label.txt").write_text("one.JPEG 0\\n")
        (folder / "vovnet39_sample.pth").write_bytes(b"weights")
        run.details = {"meaning": "It means nothing."}
    return "sample"
'''
REPORT = '''
"""The stand-in for the report."""
from types import SimpleNamespace

def Options(*given):
    return given

def make(work, out, options):
    out.write_text("a page")
    report = SimpleNamespace(runs=[1, 2], per_class=None)
    return SimpleNamespace(report=report, pictures=0, others=[], size=6, page=out)
'''


class Project:
    """A copy of the project's frame around stand-ins for its stages."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.work = folder / "work"
        folder.mkdir(parents=True)
        shutil.copy(PROJECT / "run_all.sh", folder)
        for room in ("cli", "pipeline"):
            shutil.copytree(
                PROJECT / room,
                folder / room,
                ignore=shutil.ignore_patterns("__pycache__", "sample", "report"),
            )
        (folder / "pipeline/sample").mkdir()
        (folder / "pipeline/sample/__init__.py").write_text(SAMPLE)
        (folder / "pipeline/report").mkdir()
        for name in ("__init__.py", "gather.py"):
            (folder / "pipeline/report" / name).write_text(REPORT)
        (folder / "env.sh").write_text(f"PATH='{BIN}':$PATH\nexport PATH\n")
        for name, text in STAGES.items():
            (folder / name).write_text(STAND_IN + text)

    def run(
        self, *options: str, folder: Path | None = None, code: int = 0
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [str(self.folder / "run_all.sh"), *options],
            cwd=folder or self.folder.parent,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done

    def calls(self) -> list[list[str]]:
        """Return the stages called since the last time, with their arguments."""
        file = self.folder / "calls.txt"
        found = (
            [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
        )
        file.unlink(missing_ok=True)
        return found

    def fail_at(self, script: str) -> None:
        (self.folder / "fail").write_text(script)

    def own_data(self, folder: Path, classes: bool = False) -> list[str]:
        """Make a checkpoint, images and labels; return the options that name them."""
        images = folder / "my images"
        (images / "n01" if classes else images).mkdir(parents=True)
        (images / ("n01/one.JPEG" if classes else "one.JPEG")).write_bytes(b"mine")
        (folder / "my weights.pth").write_bytes(b"mine")
        (folder / "my labels.txt").write_text("one 0\n")
        options = ["--weights", str(folder / "my weights.pth"), "--images", str(images)]
        return options if classes else [*options, "--labels", str(folder / "my labels.txt")]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path / "the pro'ject; $(touch pwned)")


def names(calls: Sequence[Sequence[str]]) -> list[str]:
    return [call[0].removesuffix(".py") for call in calls]


WHOLE = [
    "vovnet39_pth2onnx",
    "vovnet_torch_preprocess",
    "get_info",
    "benchmark",
    "benchmark",
    "vision_metric_ImageNet",
    "vision_metric_ImageNet",
    "perf_report",
]


def test_whole_run_without_options_takes_the_sample_and_ends_with_the_table(
    project: Project,
) -> None:
    done = project.run()
    assert names(project.calls()) == WHOLE
    headings = [line for line in done.stderr.splitlines() if line.startswith("[")]
    assert headings == [
        "[1/8] make the sample",
        "[2/8] checkpoint -> ONNX",
        "[3/8] images -> .bin",
        "[4/8] .bin -> .info",
        "[5/8] .bin -> results, timed",
        "[6/8] results + labels -> TopN",
        "[7/8] perf files -> speed",
        "[8/8] all of it -> report.html",
    ]
    table = done.stdout[done.stdout.index("all of it in ") :].splitlines()
    table = [" ".join(line.split()) for line in table]
    assert table[2:5] == [
        "batch images Top1 95 % interval Top5 images/s end to end verdict",
        "1 8 75.00 % 40.93 - 92.85 % 100.00 % 20.00 10.00 unknown",
        "16 8 75.00 % 40.93 - 92.85 % 100.00 % 320.00 160.00 unknown",
    ]
    assert table[6:9] == [
        "images/s: the model alone, by slide-rule 1.0, fp32, 3 threads;"
        " end to end: with reading and writing",
        "unknown (batch 1, 16): its record does not say",
        "It means nothing.",
    ]
    *files, last = table[10:]
    assert files == [
        "model vovnet39.onnx",
        "dumps result/dumpOutput_device0 result/dumpOutput_device1",
        "accuracy result_bs1.json result_bs16.json",
        "speed result/perf_vision_batchsize_1_device_0.txt"
        " result/perf_vision_batchsize_16_device_1.txt",
        "report report.html",
    ]
    assert re.fullmatch(rf"OK: 2 batch sizes in [0-9.]+ s -> {re.escape(str(project.work))}", last)
    assert not list(project.folder.parent.rglob("pwned"))


def test_commands_are_the_guides_own(project: Project) -> None:
    project.run("--work-dir", str(project.folder), "--limit", "5", "--engine=onnxruntime")
    benchmark = [
        "benchmark.py",
        "-model_type=vision",
        "-device_id=0",
        "-batch_size=1",
        "-om_path=vovnet39.onnx",
        "-input_text_path=./vovnet_prep_bin.info",
        "-input_width=224",
        "-input_height=224",
        "-output_binary=False",
        "-useDvpp=False",
        "-engine=onnxruntime",
    ]
    metric = "vision_metric_ImageNet.py"
    perf_files = [f"result/perf_vision_batchsize_{b}_device_{d}.txt" for b, d in ((1, 0), (16, 1))]
    assert project.calls() == [
        ["vovnet39_pth2onnx.py", "sample/vovnet39_sample.pth", "vovnet39.onnx"],
        ["vovnet_torch_preprocess.py", "sample/images", "./prep_dataset", "--limit", "5"],
        ["get_info.py", "bin", "./prep_dataset", "./vovnet_prep_bin.info", "224", "224"],
        benchmark,
        [*benchmark[:2], "-device_id=1", "-batch_size=16", *benchmark[4:]],
        [metric, "result/dumpOutput_device0/", "sample/val_label.txt", "./", "result_bs1.json"],
        [metric, "result/dumpOutput_device1/", "sample/val_label.txt", "./", "result_bs16.json"],
        ["perf_report.py", *perf_files],
    ]


def test_second_run_does_again_only_what_changed(project: Project, tmp_path: Path) -> None:
    options = project.own_data(tmp_path)
    project.run(*options)
    project.calls()
    assert project.run(*options).stderr.count("up to date: ") == 7
    assert names(project.calls()) == ["perf_report"]

    (tmp_path / "my labels.txt").write_text("one 1\n")
    project.run(*options)
    assert names(project.calls()) == [*["vision_metric_ImageNet"] * 2, "perf_report"]

    (project.work / "result/dumpOutput_device1/one_1.txt").unlink()
    project.run(*options)
    assert names(project.calls()) == ["benchmark", "vision_metric_ImageNet", "perf_report"]

    (tmp_path / "my weights.pth").write_bytes(b"others")
    project.run(*options)
    assert names(project.calls()) == [WHOLE[0], *WHOLE[3:]]

    project.run(*options, "--limit", "1")
    # The same files, but written anew: whatever rests on them is done again.
    assert names(project.calls()) == WHOLE[1:]


def test_force_does_everything_again(project: Project) -> None:
    project.run()
    project.calls()
    assert "up to date" not in project.run("--force").stderr
    assert names(project.calls()) == WHOLE


@pytest.mark.parametrize("script", [f"{name}.py" for name in dict.fromkeys(WHOLE)])
def test_run_stops_at_the_first_failure_with_its_exit_code(project: Project, script: str) -> None:
    project.fail_at(script)
    done = project.run(code=7)
    assert names(project.calls()) == WHOLE[: WHOLE.index(script.removesuffix(".py")) + 1]
    assert re.fullmatch(
        r"run_all\.sh: FAILED: stopped in stage \d of 8 \(\w+\) with exit code 7 after \d+ s in "
        rf"{re.escape(str(project.work))}; the same command goes on from here",
        done.stderr.splitlines()[-1],
    )
    assert "all of it" not in done.stdout


def test_run_goes_on_where_it_failed(project: Project) -> None:
    project.fail_at("benchmark.py")
    project.run(code=7)
    project.calls()
    (project.folder / "fail").unlink()
    project.run()
    assert names(project.calls()) == WHOLE[3:]


def test_message_of_the_stage_that_fails_is_shown(project: Project) -> None:
    project.fail_at("get_info.py")
    (project.folder / "fail").chmod(0o755)
    done = project.run(code=1)
    assert done.stderr.splitlines()[-2] == "the stage's own message"


def test_dry_run_prints_commands_that_can_be_pasted_and_makes_nothing(
    project: Project, tmp_path: Path
) -> None:
    options = [*project.own_data(tmp_path), "--batch-size", "4"]
    before = sorted(tmp_path.rglob("*"))
    printed = project.run(*options, "--dry-run").stdout
    assert sorted(tmp_path.rglob("*")) == before
    assert "# [1/7] checkpoint -> ONNX" in printed
    done = subprocess.run(["bash", "-e"], input=printed, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert names(project.calls()) == [*WHOLE[:4], *WHOLE[6:]]
    # A real run makes of it exactly what the pasted commands made.
    assert project.run(*options).stderr.count("up to date: ") == 5


def test_printed_commands_are_those_of_the_dry_run(project: Project) -> None:
    planned = project.run("--dry-run").stdout.splitlines()
    printed = project.run().stderr.splitlines()
    commands = [line for line in planned if line.startswith(("cd ", "source ", "python3 ", "env "))]
    assert len(commands) == 13
    assert [line for line in commands if line in printed] == commands[:-1]


def test_relative_paths_are_relative_to_where_the_user_is(project: Project, tmp_path: Path) -> None:
    data = tmp_path / "data"
    project.own_data(data)
    options = ["--weights=my weights.pth", "--images=./my images", "--labels", "my labels.txt"]
    project.run(*options, "--work-dir", "a b/c", folder=data)
    calls = project.calls()
    assert calls[0][1] == str(data / "my weights.pth")
    assert calls[1][1] == str(data / "my images")
    assert calls[5][2] == str(data / "my labels.txt")
    assert (data / "a b/c/result_bs16.json").exists()
    assert not project.work.exists()
    # What lies in the work folder is named from there.
    project.run(*options, "--work-dir", ".", folder=data)
    assert project.calls()[0][1] == "my weights.pth"


def test_labels_of_class_folders_are_those_that_the_preprocessing_writes(
    project: Project, tmp_path: Path
) -> None:
    project.run(*project.own_data(tmp_path, classes=True))
    scored = [call for call in project.calls() if call[0].startswith("vision")]
    assert [call[2] for call in scored] == ["prep_dataset/val_label.txt"] * 2


def test_folder_without_images_beside_the_images_makes_no_class_folders(
    project: Project, tmp_path: Path
) -> None:
    options = project.own_data(tmp_path)[:-2]
    (tmp_path / "my images/notes").mkdir()
    assert "is not one sub-folder per class" in project.run(*options, code=2).stderr


def test_only_and_from_choose_stages(project: Project) -> None:
    project.run()
    project.calls()
    done = project.run("--only", "benchmark", "--force")
    assert names(project.calls()) == ["benchmark"] * 2
    assert "[5/8]" in done.stderr
    assert "[6/8]" not in done.stderr
    assert "all of it" not in done.stdout
    done = project.run("--from=accuracy", "--force")
    assert names(project.calls()) == WHOLE[5:]
    assert "all of it" in done.stdout


def test_stage_alone_needs_only_its_own_options(project: Project, tmp_path: Path) -> None:
    options = project.own_data(tmp_path)
    project.run(*options[:2], "--only", "export")
    project.run(*options[2:4], "--only", "preprocess")
    assert names(project.calls()) == WHOLE[:2]


def test_every_batch_size_gets_a_device_of_its_own(project: Project) -> None:
    project.run("--batch-size", " 1,4 8\t32 ")
    assert sorted(path.name for path in (project.work / "result").glob("*.txt")) == [
        "perf_vision_batchsize_1_device_0.txt",
        "perf_vision_batchsize_32_device_3.txt",
        "perf_vision_batchsize_4_device_1.txt",
        "perf_vision_batchsize_8_device_2.txt",
    ]
    for size in (1, 4, 8, 32):
        assert (project.work / f"result_bs{size}.json").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            ["--weigths", "x"],
            "unknown argument --weigths (did you mean --weights?); the options are --weights --im",
        ),
        (["--Verbos=x"], "unknown argument --Verbos=x (did you mean --verbose?); the options are"),
        (["-x"], "unknown argument -x; the options are"),
        (["-q", "-v"], "--quiet and --verbose exclude each other"),
        (["--quiet=no"], "--quiet takes no value"),
        (["x.pth"], "unknown argument x.pth"),
        (["--weights"], "--weights needs a value"),
        (["--weights", "--images", "x"], "--weights needs a value"),
        (["--weights="], "--weights needs a value"),
        (["--work-dir=~/x"], "has not expanded the ~ in ~/x; write $HOME/x"),
        (["--force=no"], "--force takes no value"),
        (["--batch-size", "0"], "--batch-size: 0 is not a whole number from 1 to 9999"),
        (["--batch-size", "1 x"], "--batch-size: x is not a whole number"),
        (["--batch-size", "*"], r"--batch-size: \* is not a whole number"),
        (["--batch-size", "a[$(touch pwned)]"], "is not a whole number"),
        (["--batch-size", " "], "--batch-size names no batch size"),
        (["--batch-size", "1 16 1"], "--batch-size names 1 twice"),
        (["--limit", "0"], "--limit: 0 is not a whole number of at least 1"),
        (["--limit", "-1"], "--limit: -1 is not"),
        (["--engine", "tensorrt"], "no engine is called tensorrt; there are auto onnxruntime"),
        (["--engine", "OpenVino"], "is called OpenVino (did you mean openvino?); there are auto"),
        (
            ["--only", "bench"],
            "called bench (did you mean benchmark?); the stages are sample export",
        ),
        (["--from", "zzz"], "no stage is called zzz; the stages are sample export"),
        (["--device", "ascent"], "ascent (did you mean ascend?) is neither cpu nor ascend"),
        (["--only", "info", "--from", "info"], "--only and --from exclude each other"),
        (["--weights", "WEIGHTS"], "--images is missing"),
        (["--images", "IMAGES"], "--weights is missing"),
        (["--labels", "LABELS"], "--weights is missing"),
        (["--weights", "WEIGHTS", "--images", "IMAGES"], "--labels is missing, and"),
        (["--weights", "WEIGHTS", "--only", "accuracy"], "--labels is missing"),
        (["--weights", "WEIGHTS", "--only", "sample"], "the sample is made where"),
    ],
)
def test_wrong_command_line_is_one_line_and_exit_2(
    project: Project, tmp_path: Path, options: list[str], said: str
) -> None:
    mine = dict(zip(("WEIGHTS", "IMAGES", "LABELS"), project.own_data(tmp_path)[1::2], strict=True))
    before = sorted(tmp_path.rglob("*"))
    done = project.run(*[mine.get(word, word) for word in options], code=2)
    assert done.stdout == ""
    assert done.stderr.startswith("run_all.sh: error: ")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--weights", "no.pth"], "--weights: no such file: no.pth"),
        (["--images", "no"], "--images: no such folder: no"),
        (["--labels", "no.txt"], "--labels: no such file: no.txt"),
        (["--work-dir", "/dev/null", "--dry-run"], "--work-dir: no folder: /dev/null"),
        (["--work-dir", "/dev/null/x"], "--work-dir: cannot make or enter /dev/null/x"),
    ],
)
def test_missing_path_is_one_line_and_exit_1(
    project: Project, options: list[str], said: str
) -> None:
    done = project.run(*options, code=1)
    assert done.stderr == f"run_all.sh: error: {said}\n"
    assert project.calls() == []


def test_results_go_to_stdout_and_all_else_to_stderr(project: Project) -> None:
    done = project.run()
    heads = ["OK: ", "speed of ", "all of it in ", "batch", "1 ", "16 ", "images/s", "unknown ("]
    heads += ["It means", "model", "dumps", "accuracy", "speed", "report"]
    lines = [line.lstrip() for line in done.stdout.splitlines() if line]
    assert [line for line in lines if not line.startswith(tuple(heads))] == []
    for words in ("source ", "cd ", "[1/8] make", "[8/8] all", "python3 ", "env PYTHONPATH="):
        assert any(line.startswith(words) for line in done.stderr.splitlines()), words
    again = project.run()
    assert "up to date" in again.stderr and "up to date" not in again.stdout


def test_quiet_leaves_results_and_errors_and_is_passed_on(project: Project) -> None:
    usual = project.run("--force")
    project.calls()
    quiet = project.run("--force", "--quiet")
    assert quiet.stderr == ""
    told = [line for line in usual.stdout.splitlines() if "all of it" not in line]
    silent = [line for line in quiet.stdout.splitlines() if "all of it" not in line]
    assert [TIME.sub("", line) for line in silent] == [TIME.sub("", line) for line in told]
    assert all(call[-1] == "--quiet" for call in project.calls())
    project.fail_at("get_info.py")
    failed = project.run("--force", "-q", code=7)
    assert failed.stderr.count("\n") == 1 and "(info) with exit code 7" in failed.stderr


def test_verbose_is_passed_on_and_changes_no_output(project: Project) -> None:
    project.run()
    project.calls()
    done = project.run("--force", "-v")
    assert all(call[-1] == "--verbose" for call in project.calls())
    assert "  export took " in done.stderr
    (project.work / "vovnet39.onnx").write_bytes(b"another")
    said = project.run("-v", "--only", "export").stderr
    assert "  vovnet39.onnx is made anew: vovnet39.onnx is not what it was\n" in said
    project.run()
    project.calls()
    # Neither word counts as another command.
    for option in ("--verbose", "--quiet"):
        project.run(option)
        assert names(project.calls()) == ["perf_report"]


def test_quiet_dry_run_is_its_commands_alone(project: Project) -> None:
    lines = project.run("--dry-run", "--quiet").stdout.splitlines()
    assert len(lines) == 14
    assert not [line for line in lines if line.startswith("#")]
    assert all(line.endswith(" --quiet") for line in lines[3:])


def test_failing_set_up_stops_before_anything_is_made(project: Project) -> None:
    (project.folder / "env.sh").write_text("echo 'no Python' >&2; return 5\n")
    done = project.run(code=5)
    assert done.stderr == "no Python\n"
    assert not project.work.exists()


def test_help_names_every_option_and_stage(project: Project) -> None:
    text = project.run("--help").stdout
    for word in ("--weights", "--labels", "--dry-run", "--only", "openvino", "sample export"):
        assert word in text


def test_packages_in_the_work_folder_are_not_taken_for_the_projects_own(
    project: Project,
) -> None:
    work = project.work
    for room in ("cli", "pipeline"):
        (work / room).mkdir(parents=True)
        (work / room / "__init__.py").write_text("raise SystemExit('a stranger')\n")
    assert names((project.run(), project.calls())[1]) == WHOLE


def test_it_can_be_called_through_a_link_and_with_cdpath_set(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CDPATH", str(tmp_path))
    (tmp_path / "run").symlink_to(project.folder / "run_all.sh")
    done = subprocess.run([tmp_path / "run", "--dry-run"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert str(project.folder / "benchmark.py").replace("'", "\\'")[:20] in done.stdout


@pytest.mark.sample
@pytest.mark.slow
def test_real_stages_go_from_the_sample_to_the_table(sample_folder: Path, tmp_path: Path) -> None:
    work = tmp_path / "real work"
    command = [
        *(str(PROJECT / "run_all.sh"), "--work-dir", str(work), "--limit", "24"),
        *("--weights", str(sample_folder / "vovnet39_sample.pth")),
        *("--images", str(sample_folder / "images")),
        *("--labels", str(sample_folder / "val_label.txt")),
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    table = done.stdout[done.stdout.index("all of it in ") :].splitlines()
    assert [line.split()[:2] for line in table[3:5]] == [["1", "24"], ["16", "24"]]
    assert "The sample's Top1" in done.stdout
    for size in (1, 16):
        assert json.loads((work / f"result_bs{size}.json").read_text())["value"][0]["value"] == "24"
    again = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert again.stderr.count("up to date: ") == 7
    assert "24 images" in (work / "report.md").read_text()
