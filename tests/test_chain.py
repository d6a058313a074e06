"""The chain of records: what each stage keeps, and what the next one makes of it."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cli import door
from pipeline import chain, identity, progress, record
from pipeline.errors import PipelineError
from pipeline.imagenet.labels import write_labels
from tests import convnets, models
from tests.conftest import PROJECT
from tests.images import jpeg, photo

PICTURES = 6
PREPROCESS = ("vovnet_torch_preprocess.py", "val", "prep")
LIST = ("get_info.py", "bin", "./prep", "./prep.info", "224", "224")
BENCHMARK = (
    "benchmark.py", "-model_type=vision", "-device_id=0", "-batch_size=4", "-om_path=m.onnx",
    "-input_text_path=./prep.info", "-input_width=224", "-input_height=224",
    "-output_binary=true", "-useDvpp=False", "-engine=onnxruntime",
)  # fmt: skip
SCORE = ("vision_metric_ImageNet.py", "result/dumpOutput_device0/", "labels.txt", "./", "r.json")
RECORDS = {
    "prep": "preprocess",
    "prep.info": "get_info",
    "result/dumpOutput_device0": "benchmark",
    "result/perf_vision_batchsize_4_device_0.txt": "benchmark",
    "r.json": "vision_metric_ImageNet",
}

Done = subprocess.CompletedProcess[str]


def stage(folder: Path, script: str, *arguments: str) -> Done:
    command = [sys.executable, str(PROJECT / script), *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def good(done: Done) -> str:
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def refused(done: Done) -> str:
    """Return the one line that a stage ends with where it refuses its input."""
    assert (done.returncode, done.stdout) == (1, ""), done.stdout + done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    return lines[0]


def load(output: Path) -> record.Json:
    content = record.load(output)
    assert content is not None
    return content


def write_pictures(folder: Path) -> None:
    """Write `val`, of whose pictures one is broken, and `labels.txt`, which has more images."""
    (folder / "val").mkdir()
    names = [f"img{number}.JPEG" for number in range(PICTURES)]
    for number, name in enumerate(names):
        (folder / "val" / name).write_bytes(jpeg(photo(260, 240, number)))
    (folder / "val" / names[-1]).write_bytes(b"no picture")
    write_labels(folder / "labels.txt", [(name, 3) for name in [*names, "other.JPEG"]])


def write_model(folder: Path) -> None:
    """Write `m.onnx` and a record such as the export keeps."""
    with record.keeping(record.Run("export", [], [folder / "m.onnx"], {"opset": 11})):
        models.save_classifier(folder / "m.onnx", classes=20)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which all stages have run."""
    folder = tmp_path_factory.mktemp("a chain") / "work"
    folder.mkdir()
    write_pictures(folder)
    write_model(folder)
    stage(folder, *PREPROCESS)
    for command in (LIST, BENCHMARK, SCORE):
        good(stage(folder, *command))
    return folder


@pytest.fixture
def work(whole: Path, tmp_path: Path) -> Path:
    """A copy of that folder, with all times."""
    return shutil.copytree(whole, tmp_path / "work")


# --- what each stage keeps ------------------------------------------------------------------------


def check_record(output: Path, name: str) -> record.Json:
    """Check what every record has; return it."""
    made = load(output)
    assert (made["schema"], made["stage"], made["status"]) == (record.SCHEMA, name, "complete")
    assert isinstance(made["good"], bool)
    assert Path(made["command"][0]).is_absolute()
    assert Path(made["folder"]).is_absolute()
    assert made["started_unix_s"] > 0
    assert len(made["code_sha256"]) == 64
    assert isinstance(made["settings"], dict)
    assert "python" in made["versions"]
    assert made["timings_s"]["total"] > 0
    assert made["verdict"]
    for entry in [*made["inputs"], *made["outputs"]]:
        digest = "sha256" if "sha256" in entry else "listing_sha256"
        assert entry == identity.fingerprint(Path(entry["path"])) | {"path": entry["path"]}
        assert len(entry[digest]) == 64
    assert chain.closes(made["counts"]) is not False, made["counts"]
    return made


@pytest.mark.parametrize("output", RECORDS)
def test_every_record_of_a_run_names_its_inputs_and_closes_its_counts(
    output: str, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(whole)
    made = check_record(Path(output), RECORDS[output])
    assert made["inputs"]
    assert chain.closes(made["counts"]) is True, made["counts"]


def test_counts_go_from_the_pictures_to_the_score(whole: Path) -> None:
    counts = {name: load(whole / name)["counts"] for name in RECORDS}
    assert (counts["prep"]["given"], counts["prep"]["done"], counts["prep"]["refused"]) == (6, 5, 1)
    assert (counts["prep.info"]["given"], counts["prep.info"]["done"]) == (5, 5)
    dumped = counts["result/dumpOutput_device0"]
    assert (dumped["samples"], dumped["dumped"]) == (5, 5)
    scored = counts["r.json"]
    assert (scored["given"], scored["scored"], scored["refused"]) == (6, 5, 1)


def test_record_of_the_score_names_model_settings_and_all_between(whole: Path) -> None:
    links = load(whole / "r.json")["details"]["chain"]
    assert (links["verified"], links["doubts"]) == (True, [])
    assert links["model"]["sha256"] == identity.file_digest(whole / "m.onnx")
    assert links["model"]["settings"] == {"opset": 11}
    assert links["info"]["sha256"] == identity.file_digest(whole / "prep.info")
    (prep,) = links["folders"]
    assert prep["settings"]["dtype"] == "float32"
    assert prep["settings"]["shape"] == [3, 224, 224]
    assert prep["listing_sha256"] == identity.fingerprint(whole / "prep")["listing_sha256"]
    assert prep["made_of"][0]["path"] == "val"
    assert links["dumps"]["settings"]["batch_size"] == 4
    assert all(links[key]["verified"] for key in ("model", "info", "dumps"))


@pytest.mark.slow
def test_records_of_sample_export_and_quantising_are_of_the_same_form(
    sample_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(PROJECT)
    check_record(sample_folder, "sample")
    weights = str(sample_folder / "vovnet39_sample.pth")
    good(stage(tmp_path, "vovnet39_pth2onnx.py", weights, "m.onnx"))
    pictures = convnets.write_pictures(tmp_path / "pictures", 40, seed=1)
    convnets.save_network(tmp_path / "small.onnx")
    said = good(
        stage(tmp_path, "vovnet39_quantize.py", "small.onnx", str(pictures.info), "int8.onnx",
              "--images", "32", "--no-judge")
    )  # fmt: skip
    assert "unverified (" in said
    monkeypatch.chdir(tmp_path)
    check_record(Path("m.onnx"), "export")
    made = check_record(Path("int8.onnx"), "quantize")
    assert not made["details"]["chain"]["verified"]


# --- what the next stage makes of it --------------------------------------------------------------


def remove_one(folder: Path) -> None:
    min(folder.iterdir()).unlink()


def add_one(folder: Path) -> None:
    (folder / "img99.bin").write_bytes(min(folder.iterdir()).read_bytes())


def change_one(folder: Path) -> None:
    first = min(folder.iterdir())
    first.write_bytes(bytes(first.stat().st_size))


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (remove_one, "prep is not what its record says: it holds 4 files, and held 5"),
        (add_one, "prep is not what its record says: it holds 6 files, and held 5"),
        (change_one, "prep is not what its record says: of its 5 files some were changed since"),
    ],
)
def test_tensors_that_are_not_those_of_the_record_are_neither_listed_nor_run(
    harm: Callable[[Path], None], said: str, work: Path
) -> None:
    old = (work / "prep.info").read_bytes(), (work / "r.json").read_bytes()
    before = identity.fingerprint(work / "result")
    harm(work / "prep")
    line = refused(stage(work, *LIST))
    assert said in line
    assert "run vovnet_torch_preprocess.py again, or remove prep.record.json to have" in line
    if harm is remove_one:
        (work / "prep.info").write_text(
            "".join((work / "prep.info").read_text().splitlines(keepends=True)[1:])
        )
    assert said in refused(stage(work, *BENCHMARK))
    assert identity.fingerprint(work / "result") == before
    assert (work / "r.json").read_bytes() == old[1]


def test_the_way_out_that_a_refusal_names_works(work: Path) -> None:
    change_one(work / "prep")
    (work / "prep.record.json").unlink()
    assert "the folder has no record, so its content is unverified" in good(stage(work, *LIST))
    said = good(stage(work, *BENCHMARK))
    assert "5 of 5 samples, inputs unverified (prep has no record)" in said
    assert "unverified (prep has no record)" in good(stage(work, *SCORE))
    links = load(work / "r.json")["details"]["chain"]
    assert (links["verified"], links["folders"][0]["verified"]) == (False, False)
    assert links["model"]["verified"]


def test_info_file_of_a_folder_that_was_prepared_anew_is_refused_until_it_is_listed_again(
    work: Path,
) -> None:
    extra = work / "val" / "more.JPEG"
    extra.write_bytes(jpeg(photo(230, 250, 77)))
    shutil.copy(work / "val" / "img0.JPEG", work / "val" / "img5.JPEG")
    good(stage(work, *PREPROCESS))
    line = refused(stage(work, *BENCHMARK))
    assert "prep is not what it was when prep.info was made: it holds 7 files, and held 5" in line
    assert line.endswith("run get_info.py again")
    good(stage(work, *LIST))
    assert "7 of 7 samples in" in good(stage(work, *BENCHMARK))


def test_info_file_that_was_cut_runs_and_is_unverified_but_its_total_is_kept(work: Path) -> None:
    lines = (work / "prep.info").read_text().splitlines(keepends=True)
    (work / "prep.info").write_text("".join(lines[:3]))
    done = stage(work, *BENCHMARK)
    changed = "prep.info was changed since its record was written"
    assert f"3 of 3 samples, inputs unverified ({changed})" in good(done)
    assert f"{changed}, so it is taken as it is" in done.stderr
    assert f"3 of 7 labelled images scored, 20 classes, unverified ({changed})" in good(
        stage(work, *SCORE)
    )
    counts = load(work / "r.json")["counts"]
    assert (counts["given"], counts["scored"], counts["refused"]) == (3, 3, 0)


def test_tensors_of_another_dtype_are_refused_by_what_their_record_says(work: Path) -> None:
    models.save_classifier(work / "m.onnx", dtype="float16")
    for path in (work / "prep").iterdir():
        os.truncate(path, path.stat().st_size // 2)
    assert "prep was made with the dtype float32, and the model takes float16" in refused(
        stage(work, *BENCHMARK)
    )


def test_folder_that_another_stage_made_is_refused(work: Path) -> None:
    dumps = "result/dumpOutput_device0"
    line = refused(stage(work, "get_info.py", "bin", dumps, "x.info", "224", "224"))
    assert f"{dumps} was made by the stage benchmark, not by preprocess" in line
    line = refused(stage(work, SCORE[0], "prep", *SCORE[2:]))
    assert "prep holds no dump" in line


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (remove_one, "holds 4 images with 1 outputs each, and its record says 5 with 1"),
        (
            lambda f: shutil.copy(f / "img0_1.bin", f / "other_1.bin"),
            "holds 6 images with 1 outputs each, and its record says 5 with 1",
        ),
        (lambda f: (f / "notes").write_text(""), "it holds 6 files, and held 5"),
        (change_one, "of its 5 files some were changed since; run benchmark.py again, or remove"),
    ],
)
def test_dumps_that_are_not_those_of_the_run_are_not_scored(
    harm: Callable[[Path], None], said: str, work: Path
) -> None:
    before = (work / "r.json").read_bytes(), record.path_of(work / "r.json").read_bytes()
    harm(work / "result/dumpOutput_device0")
    assert said in refused(stage(work, *SCORE))
    after = (work / "r.json").read_bytes(), record.path_of(work / "r.json").read_bytes()
    assert after == before


@pytest.mark.parametrize("status", ["running", "failed"])
def test_what_a_run_left_unfinished_is_refused_by_the_next_stage(status: str, work: Path) -> None:
    for output, command in (("prep", LIST), ("prep", BENCHMARK), (SCORE[1], SCORE)):
        where = record.path_of(work / output)
        whole = where.read_text()
        where.write_text(whole.replace('"complete"', f'"{status}"'))
        assert f"is not whole: its record says {status}; run " in refused(stage(work, *command))
        where.write_text(whole)


def test_folders_of_the_guides_own_scripts_work_and_are_unverified_throughout(work: Path) -> None:
    for place in work.rglob(f"*{record.SUFFIX}"):
        place.unlink()
    write_labels(work / "labels.txt", [(f"img{number}.JPEG", 3) for number in range(5)])
    said = good(stage(work, *SCORE))
    assert "5 of 5 labelled images scored, 20 classes, unverified (" in said
    assert "dumpOutput_device0 has no record)" in said
    links = load(work / "r.json")["details"]["chain"]
    assert (links["verified"], links["dumps"]["verified"]) == (False, False)
    said = good(stage(work, *BENCHMARK))
    assert "inputs unverified (prep.info has no record, and 2 more)" in said
    assert "unverified" in good(stage(work, *LIST))


def test_links_lead_to_the_record_of_what_they_lead_to(work: Path) -> None:
    (work / "latest").symlink_to("result/dumpOutput_device0")
    assert "unverified" not in good(stage(work, SCORE[0], "latest", *SCORE[2:]))
    remove_one(work / "latest")
    assert "its record says 5 with 1" in refused(stage(work, SCORE[0], "latest", *SCORE[2:]))


def test_chain_that_was_moved_as_a_whole_is_still_verified(work: Path, tmp_path: Path) -> None:
    moved = work.rename(tmp_path / "moved")
    for name in ("prep", "prep.record.json"):
        (moved / name).rename(moved / name.replace("prep", "tensors"))
    good(stage(moved, "get_info.py", "bin", "tensors", "prep.info", "224", "224"))
    assert "unverified" not in good(stage(moved, *BENCHMARK))
    assert "unverified" not in good(stage(moved, *SCORE))


def test_pictures_that_changed_since_they_were_listed_are_refused(work: Path) -> None:
    (work / "val" / "img5.JPEG").unlink()
    straight = [a.replace("=False", "=true") for a in BENCHMARK]
    good(stage(work, "get_info.py", "jpg", "val", "prep.info"))
    assert "5 of 5 samples in" in good(stage(work, *straight))
    change_one(work / "val")
    line = refused(stage(work, *straight))
    assert "val is not what it was when prep.info was made" in line


def test_int8_model_is_judged_beside_the_model_that_it_was_made_of(tmp_path: Path) -> None:
    pictures = convnets.write_pictures(tmp_path / "pictures", 40, seed=1)
    for name, weights in (("a.onnx", "laplace"), ("b.onnx", "normal")):
        convnets.save_network(tmp_path / name, weights=weights)
    info = str(pictures.info)
    good(
        stage(tmp_path, "vovnet39_quantize.py", "a.onnx", info, "int8.onnx",
              "--images", "32", "--no-judge")
    )  # fmt: skip
    command = [sys.executable, "-P", "-m", "pipeline", "judge", "b.onnx", info]
    done = subprocess.run(
        [*command, "--int8", "int8.onnx", "--engine", "onnxruntime", "-q"],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(PROJECT)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "int8.onnx was made of another model than b.onnx" in refused(done)


# --- records that nobody vouched for --------------------------------------------------------------

DEEP = 100_000


def written(**content: Any) -> bytes:
    whole = {"schema": record.SCHEMA, "status": "complete", "stage": "preprocess"}
    return json.dumps(whole | content).encode()


HOSTILE: dict[str, bytes | Callable[[Path], object]] = {
    "empty": b"",
    "no JSON": b"\x00\xff{",
    "a list": b"[]",
    "a number": b"9" * 5000,
    "no schema": b"{}",
    "deep lists": b"[" * DEEP + b"]" * DEEP,
    "deep objects": b'{"a":' * DEEP + b"1" + b"}" * DEEP,
    "cut off": written()[:-1],
    "twice": written() * 2,
    "schema of another time": written(schema=2),
    "nothing in it": b'{"schema": 1}',
    "status is a list": written(status=["complete"]),
    "stage is a number": written(stage=7),
    "outputs is an object": written(outputs={"path": "prep"}),
    "outputs of numbers": written(outputs=[1, 2]),
    "output without path": written(outputs=[{"sha256": "0"}]),
    "output with odd digest": written(outputs=[{"path": "prep", "listing_sha256": ["x"]}]),
    "output with zero byte": written(outputs=[{"path": "a\0b", "files": {}}]),
    "output with half a character": written(outputs=[{"path": "\ud800", "files": "5"}]),
    "counts is a list": written(counts=[]),
    "counts of lists": written(counts={"given": [], "done": {}, "dumped": [], "refused": "1"}),
    "counts that are no counts": written(counts={"given": -1, "done": True, "dumped": 1e300}),
    "counts beyond all measure": written(counts={"given": 10**4000, "dumped": 10**4000}),
    "not a number": b'{"schema": 1, "status": "complete", "counts": {"given": NaN, "done": NaN}}',
    "settings is a list": written(settings=[]),
    "settings of lists": written(settings={"dtype": [["x"]], "shape": {"a": 1}}),
    "details is text": written(details="x"),
    "odd details": written(details={"output_dtypes": ["V0"], "files": 3, "chain": [1]}),
    "odd dtype": written(stage="benchmark", details={"output_dtypes": [{"f4": 1}]}),
    "odd chain": written(stage="benchmark", details={"chain": {"doubts": 3, "verified": "yes"}}),
    "command of numbers": written(command=[1]),
    "a folder": lambda where: where.mkdir(),
    "a link to itself": lambda where: where.symlink_to(where.name),
    "a link to an endless file": lambda where: where.symlink_to("/dev/zero"),
    "a pipe": lambda where: os.mkfifo(where),
    "100 MB": lambda where: os.truncate(os.open(where, os.O_CREAT | os.O_WRONLY), 100_000_000),
}


def put(content: bytes | Callable[[Path], object], where: Path) -> None:
    where.unlink()
    if isinstance(content, bytes):
        where.write_bytes(content)
    else:
        content(where)


Enter = Callable[..., tuple[int, str, str]]


@pytest.fixture
def enter(work: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Enter:
    """Run a stage in this process: many of these records are tried."""
    monkeypatch.chdir(work)
    monkeypatch.setattr(progress, "_silent", False)

    def run(script: str, *arguments: str) -> tuple[int, str, str]:
        module = importlib.import_module(script.removesuffix(".py"))
        code = door.enter(module.build_parser(), module.call, arguments)
        return code, *capsys.readouterr()

    return run


def check_one_line(code: int, out: str, err: str) -> None:
    assert (code, out, err.count("\n")) == (1, "", 1), err
    assert " error: " in err
    assert "unexpected" not in err
    assert len(err) < 600


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_record_is_one_line_and_nothing_else(case: str, work: Path, enter: Enter) -> None:
    for output, command in (("prep", LIST), (SCORE[1], SCORE)):
        put(HOSTILE[case], record.path_of(work / output))
        check_one_line(*enter(*command))


@pytest.mark.parametrize("case", ["deep lists", "outputs of numbers", "odd chain", "a folder"])
@pytest.mark.parametrize("output", ["prep", "prep.info", "m.onnx"])
def test_hostile_record_of_an_input_stops_a_run_or_leaves_it_unverified(
    case: str, output: str, work: Path, enter: Enter
) -> None:
    put(HOSTILE[case], record.path_of(work / output))
    code, out, err = enter(*BENCHMARK, "-q")
    if case == "odd chain" and output != "prep":  # of a file, whose content it does not know
        assert (code, err) == (0, "")
        assert f"{output} was changed since its record was written" in out
    else:
        check_one_line(code, out, err)


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
KEYS = ("status", "stage", "outputs", "inputs", "counts", "settings", "details", "command")


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.dictionaries(st.sampled_from(KEYS), VALUES), st.booleans())
def test_any_record_is_taken_or_refused_in_one_line(
    tmp_path: Path, content: record.Json, complete: bool
) -> None:
    folder, file = tmp_path / "d", tmp_path / "f"
    folder.mkdir(exist_ok=True)
    file.write_text("")
    whole = {"schema": record.SCHEMA, **content} | ({"status": "complete"} if complete else {})
    for output in (folder, file):
        record.path_of(output).write_text(json.dumps(whole))
    looks: list[Callable[[], record.Json]] = [
        lambda: chain.folder(folder, chain.PREPROCESS, {"dtype": "float32"}).facts(),
        lambda: chain.file(file).facts(),
        lambda: chain.after_run(chain.folder(folder, chain.BENCHMARK)),
        lambda: chain.facts(chain.file(file), chain.listing(file, [folder], None)),
    ]
    for look in looks:
        try:
            json.dumps(look())
        except PipelineError as error:
            assert "\n" not in str(error)


@given(st.integers(0, 9), st.integers(0, 9), st.integers(0, 9))
def test_counts_close_where_all_given_are_accounted_for(done: int, bad: int, left: int) -> None:
    counts = {"given": done + bad + left, "done": done, "refused": bad, "not_done": left}
    assert chain.closes(counts)
    assert chain.closes(counts | {"given": done + bad + left + 1}) is False
    assert chain.closes({"parameters": 1}) is None


def test_field_is_found_by_its_type_alone() -> None:
    content = {"a": [{"b": True, "n": 3}]}
    assert chain.field(content, bool, "a", 0, "b") is True
    assert chain.field(content, int, "a", 0, "b") is None
    assert chain.field(content, int, "a", 0, "n") == 3
    assert chain.field(content, int, "a", 1, "n") is None
    assert chain.field(content, str, "a", "b") is None
    assert chain.field(None, dict, "a") is None
