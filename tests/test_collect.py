"""The archive for a report: what goes in, and that nothing of the user's does."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

from pipeline import identity
from pipeline.ascend import collect, masking
from pipeline.errors import PipelineError
from tests import standins
from tests.conftest import PROJECT

SECRET = "rosebud"  # stands wherever nothing must be taken from
USER, HOST = "zacharias", "orkney-7"
PICTURE = "my_passport_scan"
PERF = (
    "[e2e] throughputRate: 190.286, latency: 262762\n"
    "[data read] throughputRate: 201.42, moduleLatency: 4.96474\n"
    "[preprocess] throughputRate: 201.059, moduleLatency: 4.97367\n"
    "[infer] throughputRate: 190.829, Interface throughputRate: 281.608, moduleLatency: 4.54289\n"
    "[post] throughputRate: 190.829, moduleLatency: 5.2403\n"
)
RESULT = {"title": "Overall statistical evaluation", "value": [{"key": "Top1", "value": "76.78%"}]}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "people" / USER
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def work(home: Path) -> Path:
    """Return a work folder, in the home folder, with all kinds of files and secrets in it."""
    folder = home / "a work folder"
    dumps, prepared = folder / "result" / "dumpOutput_device0", folder / "prep_dataset"
    for place in (dumps, prepared, folder / "logs", folder / ".cache"):
        place.mkdir(parents=True)
    for name in ("vovnet39.onnx", "vovnet39_bs1.om", "mine.pth", "notes.md", "run.sh"):
        (folder / name).write_text(SECRET)
    (folder / "benchmark.x86_64").symlink_to("elsewhere")
    (folder / "val_label.txt").write_text(f"{PICTURE}.JPEG 65 {SECRET}\n")
    (folder / "vovnet_prep_bin.info").write_text(f"0 ./prep_dataset/{PICTURE}.bin 224 {SECRET}\n")
    (folder / "private.json").write_text(json.dumps({"who": SECRET}))
    (folder / ".cache" / "in.log").write_text(SECRET)
    (folder / "settings.cfg").write_text(f"colour = {SECRET}\n")
    (folder / "aipp.cfg").write_text("aipp_op {\n    aipp_mode : static\n}\n")
    for n in range(3):
        (prepared / f"{PICTURE}_{n}.bin").write_text(SECRET * (n + 1))
        (dumps / f"{PICTURE}_{n}_1.txt").write_text(SECRET)
    (dumps / f"{PICTURE}.JPEG").write_text(SECRET)
    (folder / "result" / "perf_vision_batchsize_1_device_0.txt").write_text(PERF)
    (folder / "result" / "PureInfer_perf_of_vovnet39_bs1_in_device_0.txt").write_text(
        "ave_throughputRate = 974.27samples/s, ave_latency = 1.02917ms\n"
    )
    (folder / "result" / "perf_vision_batchsize_4_devices_0_1.txt").write_text(PERF)
    (folder / "result_bs1.json").write_text(json.dumps(RESULT))
    (folder / "out_summary.json").write_text(
        json.dumps({"throughput": 12.5, "filesinfo": {"0": {"infiles": [f"{PICTURE}.bin"]}}})
    )
    (folder / "prep_dataset.record.json").write_text(
        json.dumps(
            {
                "stage": "preprocess",
                "folder": str(folder),
                "command": [str(home / "x.py"), "--workers", "2"],
                "inputs": [{"path": f"/mnt/{USER}/val", "files": 3}],
                "details": {
                    "files": [f"{PICTURE}_0.bin"],
                    "refused": [{"path": f"{PICTURE}.JPEG", "reason": SECRET}],
                    "missing": [PICTURE],
                    "latencies_us": list(range(1000)),
                },
                "error": f"PipelineError: /data/{PICTURE}.JPEG cannot be decoded",
                "counts": {"given": 3},
            }
        )
    )
    (folder / "logs" / "atc_bs1.log").write_text(
        "ATC run failed, Please check the detail log\nE10001: bad soc\n"
        f"{HOST}.example.org ran {folder}/x for {USER}, atc.bin, {PICTURE}.bin\n"
        f"password={SECRET} TOKEN: '{SECRET}' https://me:{SECRET}@host.org {SECRET}@mail.org\n"
        f"Authorization: Bearer {SECRET}{SECRET}\n"
    )
    return folder


@pytest.fixture
def environment(home: Path, tmp_path: Path) -> dict[str, str]:
    """Return a user's environment with the stand-in of npu-smi, a CANN and its logs."""
    plog = home / "ascend" / "log" / "debug" / "plog"
    plog.mkdir(parents=True)
    (plog / "plog-1_2.log").write_text(f"[INFO] old\n{'x' * 70} {USER}\n" * 9000 + "the end\n")
    (plog / "plog-3_4.log").write_text(f"[ERROR] GE(7,atc): {home}/kernel_meta on {HOST}\n")
    os.utime(plog / "plog-1_2.log", (1, 1))
    (plog / "core.bin").write_text(SECRET)
    cann = tmp_path / "cann"
    (cann / "x86_64-linux").mkdir(parents=True)
    (cann / "version.cfg").write_text("runtime_running_version=[5.0.1]\n")
    (cann / "x86_64-linux" / "ascend_toolkit_install.info").write_text("version=5.0.1\n")
    return standins.environment(
        HOME=str(home),
        USER=USER,
        LOGNAME=USER,
        HOSTNAME=f"{HOST}.example.org",
        ASCEND_TOOLKIT_HOME=str(cann),
        MY_API_KEY=SECRET,
        COLUMNS="200",
    )


def run(*words: str | Path, env: dict[str, str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-m", "pipeline", "collect", *map(str, words)],
        cwd=folder,
        env=env | {"PYTHONPATH": f"{PROJECT}{os.pathsep}{env.get('PYTHONPATH', '')}"},
        capture_output=True,
        text=True,
    )


def unpacked(archive: Path) -> dict[str, str]:
    with tarfile.open(archive) as opened:
        members = opened.getmembers()
        assert all(m.isfile() and not m.uname and not m.gname and m.uid == 0 for m in members)
        assert all(m.name.startswith(f"{collect.FOLDER}/") for m in members)
        texts = {}
        for member in members:
            stream = opened.extractfile(member)
            assert stream is not None
            texts[member.name.removeprefix(f"{collect.FOLDER}/")] = stream.read().decode()
        return texts


@pytest.fixture
def collected(work: Path, environment: dict[str, str], tmp_path: Path) -> dict[str, str]:
    done = run("--work-dir", work, "out.tar.gz", env=environment, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    return unpacked(tmp_path / "out.tar.gz")


def test_no_planted_secret_and_no_name_of_anybody_goes_in(collected: dict[str, str]) -> None:
    for name, text in collected.items():
        for planted in (SECRET, USER, HOST, PICTURE, "example.org", "me:"):
            assert planted not in text, (planted, name, text)
            assert planted not in name


def test_the_header_of_the_archive_names_nothing(
    work: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    target = tmp_path / f"{USER}.tar.gz"
    assert run("--work-dir", work, target, env=environment, folder=tmp_path).returncode == 0
    assert USER.encode() not in target.read_bytes()[:200]
    assert target.read_bytes()[4:8] == bytes(4)  # gzip's time


def test_what_a_report_needs_goes_in(collected: dict[str, str]) -> None:
    system = json.loads(collected["system.json"])
    assert system["python"] == sys.version
    assert system["packages"]["numpy"]
    assert system["packages"]["ais_bench"] == "0.0.2"
    assert system["programs"]["atc"].endswith("/bin/atc")
    assert system["variables"]["PATH"]
    tool = identity.file_digest(standins.BIN / f"benchmark.{platform.machine()}")
    assert f"tool       sha256 {tool}\n" in collected["found.txt"]
    assert re.search(r"^card +310: devices 0 1 2 3$", collected["found.txt"], re.MULTILINE)
    assert "310" in collected["npu-smi_info.txt"]
    versions = [text for name, text in collected.items() if name.startswith("versions/")]
    assert "version=5.0.1\n" in versions
    assert len(versions) == 2
    assert collected["work/result/perf_vision_batchsize_1_device_0.txt"] == PERF
    assert collected["work/result/perf_vision_batchsize_4_devices_0_1.txt"] == PERF
    assert "974.27" in collected["work/result/PureInfer_perf_of_vovnet39_bs1_in_device_0.txt"]
    assert json.loads(collected["work/result_bs1.json"]) == RESULT
    assert json.loads(collected["work/out_summary.json"])["throughput"] == 12.5
    assert "E10001: bad soc" in collected["work/logs/atc_bs1.log"]
    assert "atc.bin" in collected["work/logs/atc_bs1.log"]
    assert "aipp_op" in collected["work/aipp.cfg"]


def test_a_record_goes_in_without_its_lists_of_names(collected: dict[str, str]) -> None:
    kept = json.loads(collected["work/prep_dataset.record.json"])
    assert kept["counts"] == {"given": 3}
    assert kept["folder"] == "<work>"
    assert kept["details"]["files"] == "[1 left out]"
    assert kept["details"]["latencies_us"][-1] == "[800 more left out]"
    assert kept["inputs"][0]["path"] == "/mnt/<user>/val"
    assert kept["error"] == "PipelineError: /data/<name>.JPEG cannot be decoded"


def test_cann_logs_go_in_by_their_ends_newest_first(collected: dict[str, str]) -> None:
    old, new = collected["logs/plog/plog-1_2.log"], collected["logs/plog/plog-3_4.log"]
    assert new == "[ERROR] GE(7,atc): ~/kernel_meta on <host>\n"
    assert re.match(r"\[\d+ bytes before this left out\]\n", old)
    assert old.endswith(f"{'x' * 70} <user>\nthe end\n")
    assert len(old) < collect.LOG_BYTES
    names = [name for name in collected if name.startswith("logs/")]
    assert names == ["logs/plog/plog-3_4.log", "logs/plog/plog-1_2.log"]


def test_the_listing_has_sizes_and_no_names_of_pictures(collected: dict[str, str]) -> None:
    lines = collected["work/listing.txt"].splitlines()
    assert "vovnet39.onnx: 7 bytes" in lines
    assert "benchmark.x86_64: a link" in lines
    assert "prep_dataset/*.bin: 3 files of 7 to 21 bytes, 42 together" in lines
    assert "result/dumpOutput_device0/*.txt: 3 files of 7 bytes, 21 together" in lines


def test_all_that_was_taken_is_printed_with_its_size(
    work: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    done = run("--work-dir", work, env=environment, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    texts = unpacked(tmp_path / "ascend_report.tar.gz")
    for name, text in texts.items():
        assert re.search(rf"^ *{len(text.encode()):,} +{re.escape(name)} *$", done.stdout, re.M)
    last = done.stdout.splitlines()[-1]
    assert last.startswith(f"OK: {len(texts)} files, ")
    assert last.endswith("-> ascend_report.tar.gz; look through it before you send it")


def test_a_machine_with_nothing_says_what_it_lacks(tmp_path: Path) -> None:
    env = {"PATH": "/nonexistent", "HOME": str(tmp_path)}
    done = run("--work-dir", tmp_path, env=env, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "npu-smi (not on PATH)" in done.stdout
    assert "CANN's logs (" in done.stdout
    assert "it has no record, om or perf file" in done.stdout


@pytest.mark.skipif(os.geteuid() == 0, reason="no folder is closed to root")
def test_folders_that_are_closed_to_the_user_are_told(
    environment: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "cann").chmod(0)
    done = run(env=environment, folder=tmp_path)
    (tmp_path / "cann").chmod(0o755)
    assert done.returncode == 0, done.stderr
    assert "CANN's version files (" in done.stdout


def test_a_driver_that_is_missing_is_told_by_npu_smi(
    environment: dict[str, str], tmp_path: Path
) -> None:
    env = environment | {"STANDIN_FAULT": "no_driver"}
    assert run(env=env, folder=tmp_path).returncode == 0
    text = unpacked(tmp_path / "ascend_report.tar.gz")["npu-smi_info.txt"]
    assert text.startswith("exit status 255\ndcmi module initialize failed. ret is -8005")


def test_links_and_folders_that_are_no_work_folder_are_left_alone(
    work: Path, environment: dict[str, str], home: Path, tmp_path: Path
) -> None:
    (home / "diary.log").write_text(SECRET)
    (work / "linked.log").symlink_to(home / "diary.log")
    (work / "linked").symlink_to(home)
    os.mkfifo(work / "pipe.log")
    for folder in (work, home):
        done = run("--work-dir", folder, "out.tgz", env=environment, folder=tmp_path)
        assert done.returncode == 0, done.stderr
        assert not any(SECRET in text for text in unpacked(tmp_path / "out.tgz").values())


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["out.zip"], 1, "out.zip is no name of an archive; let it end in .tar.gz"),
        (["none/out.tar.gz"], 1, "the folder none does not exist"),
        (["--work-dir", "none"], 1, "none is no folder"),
        (["--log-kb", "0"], 2, "whole number"),
        (["a.tar.gz", "b.tar.gz"], 2, "unknown argument: b.tar.gz"),
    ],
)
def test_wrong_words_are_refused_in_one_line(
    tmp_path: Path, words: list[str], code: int, text: str
) -> None:
    done = run(*words, env=dict(os.environ), folder=tmp_path)
    assert (done.returncode, done.stdout) == (code, "")
    assert text in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_a_broken_record_and_a_log_that_is_no_text_do_not_stop_it(
    work: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    (work / "torn.record.json").write_text('{"stage": "' + SECRET)
    (work / "odd.log").write_bytes(b"\0" + SECRET.encode())
    (work / "latin.log").write_bytes(b"caf\xe9\n")
    done = run("--work-dir", work, "out.tgz", env=environment, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    texts = unpacked(tmp_path / "out.tgz")
    assert texts["work/torn.record.json"] == "[18 bytes that are no record]\n"
    assert texts["work/odd.log"] == "[left out: no text]\n"
    assert texts["work/latin.log"] == "caf\ufffd\n"


def test_programs_that_use_a_chip_are_not_named() -> None:
    table = (
        "| NPU     Chip              | Process id    | Process name             | Memory(MB) |\n"
        "+===========================+===============+==========================+============+\n"
        "| 0       0                 | 4711          | payroll.py               | 190        |\n"
    )
    text = collect._without_processes(table)
    assert "payroll" not in text
    assert "4711" in text
    assert [len(line) for line in text.splitlines()] == [len(line) for line in table.splitlines()]


def test_programs_that_use_a_chip_are_named_nowhere(
    environment: dict[str, str], tmp_path: Path
) -> None:
    table = (standins.HERE / "npu_smi.py").read_text()
    assert "Process" not in table  # else the stand-in would do
    smi = tmp_path / "bin" / "npu-smi"
    smi.parent.mkdir()
    smi.write_text(
        "#!/bin/sh\ncat <<'TABLE'\n"
        "| NPU   Name   | Health  | Power(W) |\n| Chip  Device | Bus-Id  | AICore(%) |\n"
        "| 1     310    | OK      | 12.8     |\n| 0     0      | 0000:01 | 0         |\n"
        "| NPU   Chip   | Process id | Process name | Memory(MB) |\n"
        f"| 1     0      | 4711       | {SECRET}     | 190        |\nTABLE\n"
    )
    smi.chmod(0o755)
    env = environment | {"PATH": f"{smi.parent}{os.pathsep}{environment['PATH']}"}
    assert run(env=env, folder=tmp_path).returncode == 0
    texts = unpacked(tmp_path / "ascend_report.tar.gz")
    assert "in use by 1 processes: rates" in texts["found.txt"]
    assert "4711" in texts["npu-smi_info.txt"]
    assert not any(SECRET in text for text in texts.values())


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("/home/li/x and /home/lin/y", "/home/<user>/x and /home/<user>/y"),
        ("/srv/li/x", "/srv/<user>/x"),
        ("/people/li-old /people/li/x /people/li", "/people/<user>-old ~/x ~"),
        ("limit list_li_2 li2", "limit list_<user>_2 li2"),
        ("SEA.example and sea", "<host>.example and <host>"),
        ("libsea.so season", "libsea.so season"),
        ("-I/people/li/include", "-I~/include"),
        ("run /a/My.Scan.JPEG, ./b/0.bin atc.bin", "run /a/<name>.JPEG, ./b/<name>.bin atc.bin"),
        ("vovnet39.onnx v1.bing a.txt", "vovnet39.onnx v1.bing a.txt"),
        ('"token": "abc", pass', '"token": "<secret>", pass'),
        ("21.0.3.1 5.0.1", "21.0.3.1 5.0.1"),
    ],
)
def test_what_is_masked_and_what_is_not(text: str, masked: str) -> None:
    mask = masking.Mask({Path("/people/li"): masking.HOME}, ["li", "root"], ["sea"])
    assert mask.text(text) == masked


@pytest.mark.parametrize("unit", ["a", "a.", "a=", "password", "/", "@a.", "x://", " "])
def test_masking_takes_no_longer_than_the_text_is_long(unit: str) -> None:
    # A pattern that looks anew from each character on would need hours for this.
    mask = masking.Mask({}, ["li"], ["sea"])
    assert mask.text(unit * (200_000 // len(unit)))


def test_the_project_and_the_work_folder_have_their_own_labels(tmp_path: Path) -> None:
    mask = masking.of_this_machine({identity.PROJECT: "<project>", tmp_path: "<work>"})
    assert mask.text(f"{PROJECT}/env.sh {tmp_path}/a") == "<project>/env.sh <work>/a"


def test_a_target_that_is_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.tgz").mkdir()
    with pytest.raises(PipelineError, match="is a folder"):
        collect.collect(tmp_path, tmp_path / "a.tgz")


def test_names_that_become_the_same_are_kept_apart(tmp_path: Path) -> None:
    report = collect.Report(masking.Mask({}, ["li", "lo"], []))
    report.add("li.log", "1")
    report.add("lo.log", "2")
    found: dict[str, Any] = report.members
    assert found == {"<user>.log": b"1", "<user>-2.log": b"2"}
