"""The stand-ins for `ais_bench` and `aclruntime`, in both generations, against their formats."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests import models, standins
from tests.standins import atc

SIZE, CLASSES, IMAGES, BATCH = 32, 10, 10, 4


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Convert two models and write float32 pictures once for all tests."""
    place = tmp_path_factory.mktemp("ais")
    rng = np.random.default_rng(0)
    (place / "prep").mkdir()
    for n in range(IMAGES):
        rng.normal(size=(3, SIZE, SIZE)).astype(np.float32).tofile(place / f"prep/im_{n}.bin")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        for name, more in (("m", False), ("x", True)):
            models.save_classifier(
                place / f"{name}.onnx", size=SIZE, classes=CLASSES, extra_outputs=more
            )
            words = [f"--model={name}.onnx", f"--input_shape=image:{BATCH},3,{SIZE},{SIZE}"]
            words += ["--framework=5", f"--output={name}", "--soc_version=Ascend310"]
            assert atc.main([*words, "--precision_mode=force_fp32"]) == 0
    for file in [place / "m.om", place / "prep", *(place / "prep").iterdir()]:
        file.chmod(0o750)  # whatever the umask, as the strictest of the rules want it
    return place


@pytest.fixture
def place(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Stand in a folder of this test's own, the models and pictures linked in."""
    monkeypatch.chdir(tmp_path)
    for name in ("m.om", "x.om", "m.onnx", "x.onnx", "prep"):
        (tmp_path / name).symlink_to(made / name)
    yield tmp_path


def run(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words],
        env=standins.environment(**variables),
        capture_output=True,
        text=True,
    )


def bench(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return run("-m", "ais_bench", "--input", "prep", "--output", "out", *words, **variables)


def expected(model: str) -> list[np.ndarray]:
    files = [np.fromfile(f"prep/im_{n}.bin", np.float32) for n in range(IMAGES)]
    pictures = np.stack(files).reshape(IMAGES, 3, SIZE, SIZE)
    return models.expected(Path(f"{model}.onnx"), pictures)


@pytest.mark.parametrize("generation", ["23", "25"])
def test_results_lie_by_name_with_the_summary_beside(place: Path, generation: str) -> None:
    done = bench("--model", "x.om", "--output_dirname", "d", STANDIN_AIS=generation)
    assert done.returncode == 0, done.stderr
    assert len(list(Path("out/d").iterdir())) == 3 * IMAGES
    scores, top, _ = expected("x")
    for n in range(IMAGES):
        found = np.fromfile(f"out/d/im_{n}_0.bin", np.float32)
        np.testing.assert_allclose(found, scores[n], rtol=1e-4, atol=1e-5)
        assert np.fromfile(f"out/d/im_{n}_1.bin", np.int64) == top[n]
    summary = json.loads(Path("out/d_summary.json").read_text())
    assert len(summary["filesinfo"]) == IMAGES and summary["NPU_compute_time"]["count"] == 3
    assert set(summary["NPU_compute_time"]) == {
        *("min", "max", "mean", "median", "percentile(99%)", "count")
    }
    mean = summary["NPU_compute_time"]["mean"]
    assert summary["throughput"] == pytest.approx(1000 * BATCH / mean)
    lines = done.stdout.splitlines()
    assert lines[:5] == [
        "[INFO] acl init success",
        "[INFO] open device 0 success",
        "[INFO] load model x.om success",
        "[INFO] create model description success",
        f"[INFO] try get model batchsize:{BATCH}",
    ]
    assert (
        "[INFO] get filesperbatch files0 size:12288 tensor0size:49152 filesperbatch:4 runcount:3"
        in lines
    )
    assert re.search(
        r"\[INFO\] throughput 1000\*batchsize\.mean\(4\)/NPU_compute_time\.mean\(.+\): .+",
        done.stdout,
    )
    assert lines[-1] == "[INFO] end to finalize acl"


def test_text_has_a_row_per_last_dimension_and_the_old_summary_lies_inside(place: Path) -> None:
    words = ["--model=x.om", "--output_dirname=d", "--outfmt=TXT", "--display_all_summary=1"]
    done = bench(*words, STANDIN_SUMMARY="inside")
    assert done.returncode == 0, done.stderr
    assert "H2D_latency (ms): min" in done.stdout
    assert Path("out/d/sumary.json").exists() and not Path("out/d_summary.json").exists()
    fields = Path("out/d/im_9_2.txt").read_text().splitlines()
    assert len(fields) == 12 and all(re.fullmatch(r"(-?\d+\.\d{6} ){4}", row) for row in fields)
    assert re.fullmatch(r"\d \n", Path("out/d/im_9_1.txt").read_text())


def test_pure_inference_saves_one_whole_batch(place: Path) -> None:
    done = run("-m", "ais_bench", "--model=m.om", "--loop=3", "--output=out", "--device=2")
    assert done.returncode == 0, done.stderr
    (found,) = Path("out").rglob("pure_infer_data_0.bin")
    assert found.stat().st_size == BATCH * CLASSES * 4
    (summary,) = Path("out").glob("*_summary.json")
    assert json.loads(summary.read_text())["NPU_compute_time"]["count"] == 3


@pytest.mark.parametrize("generation", ["23", "25"])
def test_several_devices_share_the_inputs(place: Path, generation: str) -> None:
    words = ["--model=m.om", "--output_dirname=d", "--device=0,1,2,3"]
    words += [] if generation == "23" else ["--divide_input=true"]
    done = bench(*words, STANDIN_AIS=generation)
    assert done.returncode == 0, done.stderr
    names = [f"device{d}" + ("" if generation == "23" else f"_{d}") for d in range(4)]
    assert sorted(p.name for p in Path("out/d").iterdir() if p.is_dir()) == names
    found = sorted(path.name for path in Path("out/d").rglob("*.bin"))
    assert found == sorted(f"im_{n}_0.bin" for n in range(IMAGES))


def test_without_dividing_the_newer_one_gives_all_devices_everything(place: Path) -> None:
    done = bench("--model=m.om", "--output_dirname=d", "--device=0,1", STANDIN_AIS="25")
    assert done.returncode == 0, done.stderr
    assert len(list(Path("out/d").rglob("*.bin"))) == 2 * IMAGES


def test_a_device_that_dies_fails_the_whole_run(place: Path) -> None:
    words = ["--model=m.om", "--output_dirname=d", "--device=0,1", "--divide_input=1"]
    done = bench(*words, STANDIN_FAULT="device_dies:1/4")
    assert done.returncode == 1
    assert "subprocess run failed error_callback:" in done.stdout
    assert "multidevice run end qsize:3 result:1" in done.stdout


@pytest.mark.parametrize(
    ("fault", "status", "samples"),
    [("stop_after:3", 1, 3), ("partial:3", 0, 3), ("killed_after:3", -9, 3), ("no_driver", 1, 0)],
)
def test_the_program_fails_on_demand(place: Path, fault: str, status: int, samples: int) -> None:
    done = bench("--model=m.om", "--output_dirname=d", STANDIN_FAULT=fault)
    assert done.returncode == status
    assert len(list(Path("out").rglob("*.bin"))) == samples
    assert not list(Path("out").glob("*.json")) if samples else "507033" in done.stdout


@pytest.mark.parametrize(
    ("words", "status", "text"),
    [
        (["--model=m.om", "--speed=1"], 2, "unrecognized arguments"),
        (["--model=m.om", "--outfmt=CSV"], 2, "invalid choice"),
        (["--model=m.om", "--device=300"], 2, "valid value range is [0, 255]"),
        (["--model=m.onnx"], 2, "not in ['om']"),
        (["--model=m.om", "--device=4"], 1, "acl open device 4 failed"),
        (["--model=m.om", "--input=small"], 1, "arg0 tensorsize: 49152 filesize: 100 not match"),
        (["--model=m.om", "--pipeline=1"], 1, "the stand-in does not do this"),
    ],
)
def test_the_program_refuses_what_does_not_fit(
    place: Path, words: list[str], status: int, text: str
) -> None:
    Path("small").mkdir()
    Path("small/a.bin").write_bytes(bytes(100))
    done = bench(*words)
    assert done.returncode == status
    assert text in done.stdout + done.stderr


def test_the_path_rules_hold_where_they_are_asked_for(place: Path, made: Path) -> None:
    link = bench("--model=m.om", STANDIN_PATH_RULES="1")
    assert link.returncode == 2 and "illegal" in link.stderr
    words = ["-m", "ais_bench", f"--model={made}/m.om", f"--input={made}/prep", "--output=out"]
    Path("out").mkdir(mode=0o755)
    readable = run(*words, STANDIN_PATH_RULES="1")
    assert readable.returncode == 2 and "output path" in readable.stderr
    Path("out").chmod(0o750)
    assert run(*words, STANDIN_PATH_RULES="1").returncode == 0


INTERFACE = """
import numpy as np
import aclruntime
from importlib.metadata import version
from ais_bench.infer.interface import InferSession, MemorySummary
assert version("aclruntime") == version("ais_bench") == "0.0.2"
session = InferSession(1, "m.om")
(desc,) = session.get_inputs()
assert (desc.name, list(desc.shape), desc.realsize) == ("image", [4, 3, 32, 32], 49152)
batch = np.stack([np.fromfile(f"prep/im_{n}.bin", np.float32) for n in range(4)])
(scores,) = session.infer([batch.reshape(desc.shape)])
raw = np.frombuffer(batch.tobytes(), np.int8)
(tensor,) = session.run([raw])
try:
    np.array(tensor)
except RuntimeError:
    tensor.to_host()
assert (np.array(tensor) == scores).all()
(again,) = session.run([session.create_tensor_from_arrays_to_device(batch)], True)
assert (again == scores).all()
try:
    session.infer([batch[:2]])
except RuntimeError as error:
    assert "24576" in str(error)
else:
    raise SystemExit("a short batch was taken")
np.save("scores.npy", scores)
"""
OLDER = """
times = session.sumary().exec_time_list
assert len(times) == 3 and all(isinstance(t, float) for t in times)
session.reset_sumaryinfo()
assert not session.sumary().exec_time_list and MemorySummary.get_H2D_time_list()
assert not hasattr(session, "summary")
session.finalize()
"""
NEWER = """
times = session.summary().exec_time_list
assert len(times) == 3 and all(end >= start > 1e11 for start, end in times)
session.reset_summaryinfo()
assert not session.summary().exec_time_list and MemorySummary.get_h2d_time_list()
assert not hasattr(session, "sumary")
one, two = session.infer_pipeline([[batch], [batch]])
assert (one[0] == scores).all() and (two[0] == scores).all()
session.free_resource()
InferSession.finalize()
from ais_bench.infer.interface import MultiDeviceSession
several = MultiDeviceSession("m.om")
found = several.infer({0: [[batch]], 3: [[batch], [batch]]})
assert {device: len(outputs) for device, outputs in found.items()} == {0: 1, 3: 2}
assert (found[3][1][0] == scores).all() and len(several.summary[3]) == 2
"""


@pytest.mark.parametrize(("generation", "more"), [("23", OLDER), ("25", NEWER)])
def test_the_interface_has_the_spelling_of_its_generation(
    place: Path, generation: str, more: str
) -> None:
    done = run("-c", INTERFACE + more, STANDIN_AIS=generation)
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(np.load("scores.npy"), expected("m")[0][:4], rtol=1e-4, atol=1e-5)


def test_a_session_fails_on_its_device_alone(place: Path) -> None:
    script = (
        "import numpy as np\n"
        "from ais_bench.infer.interface import InferSession\n"
        "good, bad = InferSession(0, 'm.om'), InferSession(1, 'm.om')\n"
        "batch = np.zeros((4, 3, 32, 32), np.float32)\n"
        "for _ in range(2): good.infer([batch]); bad.infer([batch])\n"
    )
    done = run("-c", script, STANDIN_FAULT="device_dies:1/4")
    assert done.returncode == 1 and "device 1 is lost" in done.stderr
    assert run("-c", script, STANDIN_FAULT="device_killed:1/4").returncode == -9
    assert run("-c", script, STANDIN_FAULT="device_dies:2").returncode == 0
