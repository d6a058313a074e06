"""The card's path, room by room: what npu-smi says, remedies, rules, the tools' command lines."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.ascend import commands, discover, npu_smi, remedies, rules, table, tools
from pipeline.errors import PipelineError
from pipeline.published import SPEEDS
from tests import standins

PROJECT = Path(__file__).resolve().parent.parent
# As npu-smi prints it where a card is in use; a 910's second rows name no device.
IN_USE = """\
+-----------------------------------------------------------------------------------+
| npu-smi 22.0.0                   Version: 22.0.0                                  |
+-------------------+-----------------+---------------------------------------------+
| NPU     Name      | Health          | Power(W)     Temp(C)           Hugepages    |
| Chip    Device    | Bus-Id          | AICore(%)    Memory-Usage(MB)               |
+===================+=================+=============================================+
| 0       310P3     | OK              | 15.8         42                0    / 0     |
| 0       0         | 0000:82:00.0    | 0            1074 / 21534                   |
+===================+=================+=============================================+
| 5       310P3     | Warning         | 15.8         42                0    / 0     |
| 0       1         | 0000:89:00.0    | 0            1074 / 21534                   |
+===================+=================+=============================================+
| NPU     Chip      | Process id      | Process name | Process memory(MB)           |
+===================+=================+=============================================+
| 0       0         | 4711            | python3      | 900                          |
"""
OF_910 = """\
| NPU     Name                  | Health        | Power(W)    |
| Chip                          | Bus-Id        | AICore(%)   |
| 0       910B3                 | OK            | 15.8        |
| 0                             | 0000:C1:00.0  | 0           |
| 1       910B3                 | OK            | 15.8        |
| 0                             | 0000:01:00.0  | 0           |
"""


def test_chips_are_counted_by_their_second_rows() -> None:
    def lists(**variables: str) -> npu_smi.Card:
        done = subprocess.run(
            [standins.BIN / "npu-smi", "info"],
            env=standins.environment(**variables),
            capture_output=True,
            text=True,
            check=True,
        )
        return npu_smi.read(done.stdout)

    four = lists()
    assert [(c.device, c.name, c.health) for c in four.chips] == [
        (n, "310", "OK") for n in range(4)
    ]
    assert [c.device for c in lists(STANDIN_DEVICES="8").chips] == list(range(8))
    assert lists(STANDIN_CHIP="310P3").names == ("310P3",)
    assert lists(STANDIN_CHIP="310P3", STANDIN_DEVICES="2").chips[1].device == 1


def test_processes_and_health_are_told_and_are_no_chips() -> None:
    card = npu_smi.read(IN_USE)
    assert [(chip.device, chip.health) for chip in card.chips] == [(0, "OK"), (1, "Warning")]
    assert card.processes == ("0       0 4711 python3 900",)
    assert [(c.device, c.name) for c in npu_smi.read(OF_910).chips] == [(0, "910B3"), (1, "910B3")]
    for nothing in ("", "dcmi module initialize failed. ret is -8005", "| |\n||\n|x"):
        assert npu_smi.read(nothing) == npu_smi.Card((), ())


@pytest.mark.parametrize(
    ("name", "soc", "chips"),
    [
        ("310", "Ascend310", 4),
        ("310P3", "Ascend310P3", 1),
        ("310B4", "Ascend310B4", 1),
        ("910B3", "Ascend910B3", 1),
        ("Ascend910", "Ascend910", 1),
    ],
)
def test_the_name_gives_soc_version_and_chips_on_a_card(name: str, soc: str, chips: int) -> None:
    assert npu_smi.soc_version(name) == soc
    assert npu_smi.chips_per_card(soc) == chips


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("E10001: Value [X] for parameter [--soc_version] is invalid.", "npu-smi"),
        ("E10001: Value [a:1] for parameter [--input_shape] is invalid.", "image:B,3,224,224"),
        ("E10001: Value [3] for parameter [--mode] is invalid.", "atc --help"),
        ("E10007: [--framework] is required.", "--framework=5"),
        ("EZ3003: No supported Ops kernel and engine are found for [x]", "onnxsim"),
        ("ModuleNotFoundError: No module named 'te'", "3.7.5"),
        ("atc.bin: error while loading shared libraries: libge.so", "set_env.sh"),
        ("arg0 tensorsize: 602112 filesize: 150528 not match", "uint8"),
        ("save out files error array shape", "half the size"),
        ("acl open device 0 failed", "driver"),
        ("error code 507033", "driver"),
        ("dcmi module initialize failed. ret is -8005", "driver"),
        ("load model from file failed, model file is x.om", "--soc-version"),
        ("om path:a b.om is illegal: characters", "chmod 750"),
        ("something else", ""),
    ],
)
def test_known_errors_have_their_remedy(text: str, part: str) -> None:
    found = remedies.find(f"lines before\n{text}\nlines behind")
    assert part in found
    assert bool(found) == bool(part)


@pytest.mark.parametrize(
    ("gains", "verdict"),
    [((0, 0), "PASS"), ((-1, -1), "PASS"), ((-1.01, 0), "FAIL"), ((0, -1.01), "FAIL")],
)
def test_accuracy_passes_within_one_point(gains: tuple[float, float], verdict: str) -> None:
    source = rules.SOURCE
    found = rules.Accuracy(source.top1 + gains[0], source.top5 + gains[1], 50_000, "om")
    ruling = rules.accuracy(1, found, source, "")
    assert ruling.verdict == verdict
    assert "76.77 / 93.43" in ruling.numbers and f"{gains[0]:+.2f}" in ruling.numbers
    skipped = rules.accuracy(1, found, None, "why not")
    assert (skipped.verdict, skipped.numbers.endswith("why not")) == ("-", True)
    assert rules.accuracy(1, None, source, "").verdict == "-"


def test_published_310_rates_pass_and_the_published_310p_fails_as_its_own_readme_says() -> None:
    of_310 = {s.batch_size: s.card_310_old for s in SPEEDS if s.card_310_old is not None}
    assert [r.verdict for r in rules.speed("Ascend310", of_310)] == ["PASS"] * 5
    assert rules.speed("Ascend310", {1: 657.0})[0].verdict == "FAIL"
    of_310p = {s.batch_size: s.card_310p for s in SPEEDS}
    rulings = rules.speed("Ascend310P3", of_310p)
    assert [r.verdict for r in rulings] == ["FAIL", "FAIL"]
    assert [r.numbers[-5:] for r in rulings] == ["1.192", "1.153"]
    fast = rules.speed("Ascend310P3", {1: 1.0, 8: 2454.0})
    assert [r.verdict for r in fast] == ["PASS", "PASS"]
    assert "batch 8" in fast[0].numbers
    assert [r.verdict for r in rules.speed("Ascend310P3", {})] == ["-", "-"]
    assert rules.speed("Ascend910B3", {1: 9e9})[0].verdict == "-"
    assert rules.speed("Ascend310", {2: 9e9})[0].verdict == "-"


def test_the_guides_commands_are_read_for_what_they_take_and_leave() -> None:
    words = [
        "atc",
        "--framework=5",
        "--model=./vovnet39.onnx",
        "--input_format=NCHW",
        "--input_shape=image:16,3,224,224",
        "--output=vovnet39_bs16",
        "--log=debug",
        "--soc_version=Ascend310",
    ]
    job = commands.conversion(words)
    assert (job.model, job.om) == (Path("vovnet39.onnx"), Path("vovnet39_bs16.om"))
    assert (job.batch, job.soc, job.aipp) == (16, "Ascend310", None)
    ais = [
        "python3",
        "-m",
        "ais_bench",
        "--model=a.om",
        "--input=./p",
        "--batchsize=4",
        "--device=3",
    ]
    run = commands.measurement(ais)
    assert run.speed == Path("result/ais_bench_batchsize_4_device_3.json")
    assert commands.batch_of_speed_file(run.speed.name) == 4
    with pytest.raises(PipelineError, match="soc_version is missing"):
        commands.conversion(words[:-1])
    with pytest.raises(PipelineError, match="device_id is x"):
        commands.measurement(["./b", "-om_path=a.om", "-batch_size=1", "-device_id=x"])


def test_the_tools_environment_is_that_without_the_projects_python(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own = PROJECT / ".venv"
    monkeypatch.setenv("PATH", f"/cann/bin:{own}/bin:/usr/bin:{own}/bin")
    monkeypatch.setenv("VIRTUAL_ENV", str(own))
    monkeypatch.setenv("PYTHONPATH", "/the/project")
    monkeypatch.setenv(tools.PYTHONPATH_KEPT, "/cann/python/site-packages")
    env = tools.environment()
    assert env["PATH"] == "/cann/bin:/usr/bin"
    assert env["PYTHONPATH"] == "/cann/python/site-packages"
    assert "VIRTUAL_ENV" not in env and tools.PYTHONPATH_KEPT not in env
    assert tools.own_environment()["PATH"] == os.environ["PATH"]


def test_a_tools_text_goes_to_the_screen_and_to_the_log(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    script = "import sys; print('one'); sys.stderr.write('E10007: x'); sys.exit(255)"
    ended = tools.run([sys.executable, "-c", script], tmp_path / "x.log")
    assert ended.code == 255 and "E10007" in ended.text
    assert (tmp_path / "x.log").read_bytes() == capfdbinary.readouterr().out
    assert "--framework=5" in str(tools.failed("atc", ended, "else"))
    ended = tools.run(["sh", "-c", "kill -9 $$"], tmp_path / "x.log")
    assert "SIGKILL" in ended.how
    with pytest.raises(PipelineError, match="cannot be started"):
        tools.run([str(tmp_path / "missing")], tmp_path / "x.log")


def test_a_tool_keeps_the_work_folders_lock_open(tmp_path: Path) -> None:
    lock = os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT)
    os.set_inheritable(lock, True)
    try:
        words = ["readlink", f"/proc/self/fd/{lock}"]
        assert tools.run(words, tmp_path / "x.log").text.strip() == str(tmp_path / "lock")
    finally:
        os.close(lock)


def test_cann_is_found_by_its_variables_and_its_version_by_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "5.0.1"
    home.mkdir()
    monkeypatch.setenv("ASCEND_TOOLKIT_HOME", str(home))
    assert discover.cann_home() == home
    assert discover.cann_version(home) == "version 5.0.1"
    (home / "version.cfg").write_text("# version\nruntime_running_version=[6.0.1:CANN-6.0.1]\n")
    assert discover.cann_version(home) == "version 6.0.1"
    monkeypatch.setenv("ASCEND_TOOLKIT_HOME", str(tmp_path / "none"))
    assert discover.cann_home() is None


def test_a_row_of_several_devices_is_reckoned_per_chip(tmp_path: Path) -> None:
    lines = "[e2e] throughputRate: 8, latency: 1\n"
    lines += "".join(
        f"[{tag}] throughputRate: 1, moduleLatency: 1\n" for tag in ("data read", "preprocess")
    )
    lines += "[infer] throughputRate: 1, Interface throughputRate: 40, moduleLatency: 1\n"
    lines += "[post] throughputRate: 1, moduleLatency: 1\n"
    for name, chip, card in (
        ("perf_vision_batchsize_4_device_0.txt", 40, 160),
        ("perf_vision_batchsize_4_devices_0_1_2_3.txt", 10, 40),
        ("perf_vision_batchsize_4_devices_0_1.txt", 20, 80),
    ):
        (tmp_path / name).write_text(lines)
        row = table.read_row(tmp_path / "none.json", tmp_path / name, "Ascend310")
        assert (row.batch, row.chip_rate, row.card_rate, row.e2e_rate) == (4, chip, card, 8)
    (tmp_path / "ais_bench_batchsize_4_device_0.json").write_text('{"throughput": 5}')
    row = table.read_row(
        Path("no"), tmp_path / "ais_bench_batchsize_4_device_0.json", "Ascend310P3"
    )
    assert (row.chip_rate, row.card_rate, row.e2e_rate) == (5, 5, None)
    with pytest.raises(PipelineError, match="not named"):
        table.read_row(Path("no"), tmp_path / "x.txt", "Ascend310")
