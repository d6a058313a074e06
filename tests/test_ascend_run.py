"""`run_all.sh --device ascend` on the stand-ins: from checkpoint to the rules, and every fault."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests import standins
from tests.ascend_project import IMAGES, SIZES, TOOL, Project, without

# The guide's commands, as its README and its test/pth2om.sh have them; {arch} is that of the tool.
GUIDE = """\
source env.sh
python3 vovnet39_pth2onnx.py vovnet39_torchvision.pth vovnet39.onnx
atc --framework=5 --model=./vovnet39.onnx --input_format=NCHW --input_shape="image:1,3,224,224" \
--output=vovnet39_bs1 --log=debug --soc_version=Ascend310
atc --framework=5 --model=./vovnet39.onnx --input_format=NCHW --input_shape="image:16,3,224,224" \
--output=vovnet39_bs16 --log=debug --soc_version=Ascend310
python3 vovnet_torch_preprocess.py {data}/images ./prep_dataset
python3 get_info.py bin ./prep_dataset ./vovnet_prep_bin.info 224 224
rm -rf result/dumpOutput_device0
./{tool} -model_type=vision -device_id=0 -batch_size=1 -om_path=vovnet39_bs1.om \
-input_text_path=./vovnet_prep_bin.info -input_width=224 -input_height=224 -output_binary=False \
-useDvpp=False
rm -rf result/dumpOutput_device1
./{tool} -model_type=vision -device_id=1 -batch_size=16 -om_path=vovnet39_bs16.om \
-input_text_path=./vovnet_prep_bin.info -input_width=224 -input_height=224 -output_binary=False \
-useDvpp=False
python3 vision_metric_ImageNet.py result/dumpOutput_device0/ {data}/val_label.txt ./ \
result_bs1.json
python3 vision_metric_ImageNet.py result/dumpOutput_device1/ {data}/val_label.txt ./ \
result_bs16.json
"""


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project whose run on a 310 has been made once."""
    project = Project(tmp_path_factory.mktemp("card") / "project")
    (project.folder.parent / "said").write_text(told(project.run()))
    return project


@pytest.fixture
def project(template: Project) -> Project:
    """The same project for every test, its work folder anew."""
    shutil.rmtree(template.work, ignore_errors=True)
    shutil.copytree(template.folder.parent / "kept", template.work, symlinks=True)
    return template


@pytest.fixture(scope="module", autouse=True)
def _kept(template: Project) -> None:
    # With times and all, so that records hold for the copy in the same place.
    shutil.copytree(template.work, template.folder.parent / "kept", symlinks=True)


OURS = ("python3 -m pipeline ascend atc: ", "run_all.sh: ")


def told(done: subprocess.CompletedProcess[str]) -> str:
    """Return all that a run has said, its results last."""
    return done.stderr + done.stdout


def said(project: Project) -> str:
    return (project.folder.parent / "said").read_text()


def without_export(project: Project) -> None:
    """Take away what the benchmark stage made, so that it has to run."""
    shutil.rmtree(project.work / "result")
    for path in project.work.glob("result_bs*"):
        path.unlink()


def test_it_goes_from_checkpoint_to_the_rules(project: Project) -> None:
    text = said(project)
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert "card 310: devices 0 1 2 3" in lines
    assert "runner tool" in lines
    row = next(line for line in lines if line.startswith("1 6 83.33 %")).split()
    rate, card = float(row[6]), float(row[7])
    assert card == pytest.approx(4 * rate, rel=1e-5)
    # The published figures beside: 4 x 281.608 (MZ-old), 1128, 838.101, 832.6, T4 657.
    assert f"1 {row[7]} 1126.432 1128 838.101 832.6 657 281.608 190.286" in lines
    assert any(
        line.startswith("- accuracy, batch 1: within 1 point Top1 83.33 %") for line in lines
    )
    assert any("FAIL speed, batch 4: four 310 chips above a T4" in line for line in lines) or any(
        "PASS speed, batch 4: four 310 chips above a T4" in line for line in lines
    )
    assert lines[-1].startswith("OK: ")
    for left in ("fusion_result.json", "kernel_meta", "vovnet39_bs1.atc.log"):
        assert (project.work / left).exists()
        assert not (project.folder / left).exists() and not (project.folder.parent / left).exists()
    for size in SIZES:
        assert json.loads(project.result(size))["value"][0]["value"] == str(IMAGES)


def test_a_second_run_does_nothing_and_ends_with_the_same_table(project: Project) -> None:
    done = told(project.run())
    assert done.count("up to date: ") == 3 + 2 * len(SIZES) + len(SIZES)
    assert "ATC start" not in done and "Dataset number" not in done
    before, after = (
        re.sub(r" in [\d.]+ s ", " ", text[text.index("batch  images") :])
        for text in (said(project), done)
    )
    assert after == before


def test_only_what_changed_is_done_again(project: Project) -> None:
    om = (project.work / "vovnet39_bs4.om").stat().st_mtime_ns
    (project.work / "vovnet39_bs1.om").write_bytes(b"cut short")
    done = told(project.run())
    assert done.count("ATC run success") == 1
    assert (project.work / "vovnet39_bs4.om").stat().st_mtime_ns == om
    assert "perf saved" not in done  # the om is the same as before, to the byte
    done = told(project.run("--force"))
    assert done.count("ATC run success") == done.count("perf saved") == 2
    assert "up to date" not in done


def test_batch_sizes_that_share_a_device_are_scored_before_they_are_replaced(
    project: Project,
) -> None:
    shutil.rmtree(project.work)
    sizes = ("--batch-size", "1 2")
    done = project.run(*sizes, standin={"CHIP": "310P3"})
    assert "310P3: devices 0" in " ".join(done.stderr.split())
    commands = [line for line in done.stderr.splitlines() if line.startswith(("./b", "python3"))]
    order = [
        c.split()[0].split(".")[1][:1] if c[0] == "." else c.split()[-1] for c in commands[3:7]
    ]
    runs = [c for c in commands if c.startswith("./")]
    assert len(runs) == 2 and all("-device_id=0 " in run for run in runs)
    assert order[1::2] == [f"result_bs{size}.json" for size in (1, 2)]
    assert "card rate = rate per chip x 1 (Ascend310P3" in done.stdout
    assert project.result("2") == project.result("1")
    # The results of batch 1 are gone, its score stands; nothing needs to run.
    again = told(project.run(*sizes, standin={"CHIP": "310P3"}))
    assert "perf saved" not in again and "ATC start" not in again
    changed = ("--only", "accuracy", "--labels", _others(project))
    refused = project.run(*sizes, *changed, code=1, standin={"CHIP": "310P3"})
    assert "does not hold the results of vovnet39_bs1.om" in refused.stderr


def _others(project: Project) -> str:
    labels = project.data / "others.txt"
    labels.write_text((project.data / "val_label.txt").read_text().replace(" ", "  "))
    return str(labels)


def test_the_dry_run_is_the_guides_own_commands(project: Project) -> None:
    weights = project.folder / "vovnet39_torchvision.pth"
    shutil.copy(project.data / "weights.pth", weights)
    options = ["--dry-run", "--batch-size", "1 16", "--weights", str(weights)]
    before = sorted(project.folder.rglob("*"))
    done = project.run(*options, "--work-dir", str(project.folder))
    assert sorted(project.folder.rglob("*")) == before
    lines = done.stdout.splitlines()
    guide = GUIDE.format(data=project.data, tool=TOOL).splitlines()
    assert [line for line in lines if line in guide] == guide
    # What the guide does not have: comments, where to work, where the tool is, tables, report.
    more = [line for line in lines if line not in guide and not line.startswith("#")]
    assert [line.split()[0] for line in more] == ["cd", "ln", *["python3"] * 3]
    assert sum(" pipeline report " in line for line in more) == 1
    weights.unlink()


def test_the_dry_run_can_be_pasted(project: Project) -> None:
    shutil.rmtree(project.work)
    printed = project.run("--dry-run").stdout
    assert not project.work.exists()
    done = subprocess.run(
        ["bash", "-e"],
        input=printed,
        env=project.environment(),
        cwd=project.data,
        text=True,
        capture_output=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.rstrip().splitlines()[-1].startswith("OK: ")
    assert all(project.result(size) == project.result("1") for size in SIZES)


def test_a_dry_run_on_a_machine_with_nothing_shows_the_guides_310(
    project: Project, tmp_path: Path
) -> None:
    names = ("atc", "npu-smi", "benchmark.x86_64", "benchmark.aarch64", "ais_bench")
    env = without(project.environment(), *names, folder=tmp_path / "bin")
    shutil.rmtree(project.work)
    printed = project.run("--dry-run", env=env).stdout
    assert printed.count("--soc_version=Ascend310\n") == len(SIZES)
    assert "# missing    atc: " in printed and "# missing    npu-smi: " in printed
    assert f"# put {TOOL} into this folder" in printed


@pytest.mark.parametrize(
    ("lacking", "options", "text"),
    [
        (("atc",), (), "missing: atc: "),
        (("npu-smi",), (), "missing: npu-smi: "),
        ((TOOL, "ais_bench"), (), f"missing: {TOOL}, ais_bench: neither is here"),
        ((TOOL,), ("--runner", "tool"), f"missing: {TOOL}: "),
        (("ais_bench",), ("--runner", "ais_bench"), "missing: ais_bench: no Python here"),
        (("ais_bench",), ("--runner", "own"), "missing: ais_bench: the project's Python"),
    ],
)
def test_what_is_missing_is_said_before_anything_is_run(
    project: Project, tmp_path: Path, lacking: tuple[str, ...], options: tuple[str, ...], text: str
) -> None:
    env = without(project.environment(), *lacking, folder=tmp_path / "bin")
    done = project.run("--work-dir", str(tmp_path / "w"), *options, code=1, env=env)
    assert text in done.stderr
    assert "nothing was run" in done.stderr.splitlines()[-1]
    assert not (tmp_path / "w").exists() and "$" not in done.stdout


def test_a_conversion_needs_no_card(project: Project, tmp_path: Path) -> None:
    names = ("npu-smi", TOOL, "ais_bench")
    env = without(project.environment(), *names, folder=tmp_path / "bin")
    options = ("--only", "om", "--soc-version=Ascend310P3", "--batch-size", "2")
    done = project.run(*options, env=env)
    assert "--soc_version=Ascend310P3" in done.stderr
    assert b"Ascend310P3" in (project.work / "vovnet39_bs2.om").read_bytes()


@pytest.mark.parametrize(
    ("options", "variables", "text"),
    [
        ((), {"FAULT": "no_driver"}, "-8005"),
        (("--soc-version=Ascend310P3",), {}, "an om runs only on the chip"),
    ],
)
def test_a_card_that_will_not_do_is_refused_before_anything_is_run(
    project: Project, tmp_path: Path, options: tuple[str, ...], variables: dict[str, str], text: str
) -> None:
    done = project.run("--work-dir", str(tmp_path / "w"), *options, code=1, standin=variables)
    assert text in done.stderr and "nothing was run" in done.stderr
    assert not (tmp_path / "w").exists()


@pytest.mark.parametrize(
    ("fault", "texts"),
    [
        ("bad_soc", ("E10001: ", "exit code 255", "npu-smi")),
        ("unsupported_op", ("EZ3003: ", "Possible Cause", "exit code 255", "onnxsim")),
        ("atc_silent", ("ATC run success", "there is no vovnet39_bs1.om")),
    ],
)
def test_a_conversion_that_fails_shows_atcs_text_and_the_remedy(
    project: Project, fault: str, texts: tuple[str, ...]
) -> None:
    old = (project.work / "vovnet39_bs1.om").read_bytes()
    done = project.run("--force", "--only", "om", code=1, standin={"FAULT": fault})
    for text in texts:
        assert text in done.stdout + done.stderr
    ours = [line for line in done.stderr.splitlines() if line.startswith(OURS)]
    assert len(ours) == 2, done.stderr
    assert (project.work / "vovnet39_bs1.om").read_bytes() == old
    assert not list(project.work.glob(".*.before"))


def test_a_warning_of_atc_is_no_failure(project: Project) -> None:
    done = project.run("--force", "--only", "om", standin={"FAULT": "atc_warning"})
    assert "W11001" in done.stderr and "W11001" not in done.stdout


@pytest.mark.parametrize(
    ("fault", "runner", "text"),
    [
        ("device_busy", "tool", "device not to be had"),
        ("device_busy", "ais_bench", "device not to be had"),
        ("stop_after:2", "tool", "ended with exit code 1"),
        ("partial:2", "tool", "the results of 2 of 6 images: val_"),
        ("killed_after:2", "tool", "was ended by SIGKILL"),
        ("device_dies:0/2", "tool", "the chip was lost"),
        ("batch_mismatch", "tool", "float32 (602,112 bytes)"),
    ],
)
def test_a_tool_that_fails_is_one_line_and_never_scored(
    project: Project, fault: str, runner: str, text: str
) -> None:
    without_export(project)
    options = ("--from", "benchmark", "--runner", runner, "--batch-size", "4")
    done = project.run(*options, code=1, standin={"FAULT": fault})
    ours = [line for line in done.stderr.splitlines() if "error: " in line]
    assert len(ours) == 1 and text in ours[0], done.stdout + done.stderr
    assert not list(project.work.glob("result_bs*.json"))
    # Nor by the next command.
    project.run("--only", "accuracy", "--runner", runner, "--batch-size", "4", code=1)
    assert not list(project.work.glob("result_bs*.json"))


def test_a_run_goes_on_after_a_tool_was_killed(project: Project) -> None:
    wanted = project.result("1")
    without_export(project)
    project.run(code=1, standin={"FAULT": "killed_after:3"})
    done = project.run()
    assert done.stdout.count("perf saved") == len(SIZES) and "ATC start" not in told(done)
    assert project.result("1") == wanted


@pytest.mark.parametrize("generation", ["23", "25"])
def test_ais_bench_gives_the_same_topn(project: Project, generation: str) -> None:
    wanted = [project.result(size) for size in SIZES]
    without_export(project)
    how = {"SUMMARY": "inside"} if generation == "23" else {"PATH_RULES": "1"}
    for path in (project.work / "prep_dataset").iterdir():
        path.chmod(0o640)  # whatever the umask
    done = project.run("--runner", "ais_bench", standin={"AIS": generation, **how})
    assert [project.result(size) for size in SIZES] == wanted
    assert "--output_dirname=dumpOutput_device1" in done.stderr
    row = next(line for line in done.stdout.splitlines() if line.split()[:2] == ["4", "6"]).split()
    assert float(row[7]) == pytest.approx(4 * float(row[6]), rel=1e-5) and row[8] == "-"
    assert project.run("--runner", "ais_bench").stderr.count("up to date: result_bs") == 2


def test_our_runner_takes_all_chips_and_gives_the_same_topn(project: Project) -> None:
    wanted = [project.result(size) for size in SIZES]
    without_export(project)
    done = project.run("--runner", "own")
    assert "-device_id=0,1,2,3 -batch_size=4 -om_path=vovnet39_bs4.om" in done.stderr
    assert [project.result(size) for size in SIZES] == wanted
    assert done.stderr.count("benchmark.py") == len(SIZES)
    assert project.run("--runner", "own").stderr.count("up to date: result/perf") == len(SIZES)


@pytest.mark.parametrize("fault", ["device_dies:1", "device_killed:1"])
def test_a_chip_that_is_lost_is_named_and_its_share_is_made_up_for(
    project: Project, fault: str
) -> None:
    wanted = project.result("1")
    without_export(project)
    options = ("--from", "benchmark", "--runner", "own", "--batch-size", "1")
    done = project.run(*options, code=1, standin={"FAULT": fault})
    ours = [line for line in done.stderr.splitlines() if "error: " in line]
    assert len(ours) == 1 and "device 1" in ours[0], done.stderr
    assert not (project.work / "result_bs1.json").exists()
    project.run(*options)
    assert project.result("1") == wanted


def test_uint8_with_aipp_gives_the_same_topn(project: Project) -> None:
    wanted = [project.result(size) for size in SIZES]
    done = project.run("--aipp")
    assert "--insert_op_conf=aipp_vovnet39.config" in done.stderr
    sizes = {path.stat().st_size for path in (project.work / "prep_dataset_uint8").glob("*.bin")}
    assert sizes == {150_528}
    assert [project.result(size) for size in SIZES] == wanted
    # What float32 needs is still there: nothing is prepared or converted again.
    again = project.run()
    assert "ATC start" not in told(again) and "up to date: prep_dataset" in again.stderr


def test_tensors_of_the_wrong_kind_never_reach_the_tool(project: Project) -> None:
    project.run("--aipp", "--only", "om", "--batch-size", "1")
    shutil.copytree(project.work / "prep_dataset", project.work / "prep_dataset_uint8")
    info = (project.work / "vovnet_prep_bin.info").read_text()
    (project.work / "vovnet_prep_bin_uint8.info").write_text(
        info.replace("prep_dataset", "prep_dataset_uint8")
    )
    done = project.run("--aipp", "--only", "benchmark", "--batch-size", "1", code=1)
    assert "602112 bytes, and the model takes 150528" in done.stderr
    assert "stand-in for benchmark" not in done.stdout + done.stderr


def test_an_om_of_another_batch_size_or_a_damaged_one_never_reaches_the_tool(
    project: Project,
) -> None:
    without_export(project)
    om = project.work / "vovnet39_bs1.om"
    shutil.copy(project.work / "vovnet39_bs4.om", om)
    done = project.run("--only", "benchmark", code=1)
    assert "is not what atc has left" in done.stderr
    shutil.copy(
        project.work / "vovnet39_bs4.om.record.json", project.work / "vovnet39_bs1.om.record.json"
    )
    done = project.run("--only", "benchmark", code=1)
    assert "was converted for batches of 4, and the command says 1" in done.stderr


def test_names_with_spaces_are_refused_before_the_tool_is_started(project: Project) -> None:
    images = project.data / "spaced"
    images.mkdir()
    shutil.copy(project.data / "images/val_0.png", images / "a b.png")
    (project.data / "spaced.txt").write_text("a b.png 1\n")
    options = ("--images", str(images), "--labels", str(project.data / "spaced.txt"))
    done = project.run(*options, code=1)
    assert "would end the name at the space" in done.stderr


def test_the_tools_do_not_see_the_projects_python(project: Project, tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    for name in ("atc", TOOL):
        project.program(
            tmp_path / "bin" / name,
            f'echo "$(command -v python3) $PYTHONPATH" >> "{seen}"\n'
            f'exec "{standins.BIN / name}" "$@"',
        )
    env = project.environment(CDPATH="/")
    env["PATH"] = f"{tmp_path}/bin:{env['PATH']}"
    (project.work / TOOL).unlink()
    project.run("--force", "--batch-size", "1", env=env)
    wanted = f"{project.data}/bin/python3 {env['PYTHONPATH']}"
    assert seen.read_text().splitlines() == [wanted, wanted]


def test_a_score_that_fails_the_rule_makes_the_exit_code_1(project: Project) -> None:
    done = project.run("--only", "reference")
    assert (project.work / "result_cpu.json").exists()
    done = project.run()
    assert "PASS" in next(line for line in done.stdout.splitlines() if "accuracy, batch 1" in line)
    assert "+0.00 / +0.00 points" in done.stdout
    cpu = project.work / "result_cpu.json"
    cpu.write_text(cpu.read_text().replace("83.33", "84.34"))
    done = project.run("--from", "speed", code=1)
    assert "FAIL" in next(line for line in done.stdout.splitlines() if "accuracy, batch 1" in line)
    assert done.stdout.rstrip().splitlines()[-1].startswith("FAILED: ")


def test_rates_of_another_run_than_the_score_are_left_out(project: Project) -> None:
    project.run("--only", "benchmark", "--force", "--batch-size", "1")
    done = project.run("--only", "speed")
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert "1 6 83.33 % 83.33 % - - - -" in lines
    name = "result/perf_vision_batchsize_1_device_0.txt"
    assert f"{name} is of another run than result_bs1.json: score anew" in lines


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("--device", "gpu"), "neither cpu nor ascend"),
        (("--runner", "trtexec"), "none of tool, ais_bench and own"),
        (("--soc-version", "310; rm -rf x"), "no name such as Ascend310P3"),
        (("--engine", "onnxruntime"), "there is --runner"),
        (("--device", "cpu", "--aipp"), "--aipp is for --device ascend"),
        (("--device", "cpu", "--runner", "own"), "--runner is for --device ascend"),
        (("--aipp", "--only", "reference"), "takes no uint8"),
        (("--only", "omm"), "the stages are sample export om preprocess"),
    ],
)
def test_an_option_that_has_no_effect_is_refused(
    project: Project, options: tuple[str, ...], text: str
) -> None:
    assert text in project.run(*options, code=2).stderr
