"""A small case for tests of what runs on a card: a model, its om, pictures, labels, and commands.

Everything lies in the current directory. Commands run in processes of their own, on the stand-ins.
"""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline import record
from tests import models, standins
from tests.standins import case

PROJECT = Path(__file__).resolve().parent.parent
EXACT = "--precision_mode=force_fp32"  # so that what the stand-ins compute can be compared


def fill(batches: Sequence[int] = (case.BATCH,), *, repeat: int = 1) -> None:
    """Write the pictures, `m.onnx`, `m_bs<B>.om` for each of `batches`, and `labels.txt`.

    The pictures are listed `repeat` times, under names of their own. Labels are of rank 0 to 6.
    """
    case.fill()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        for batch in batches:
            assert case.convert(EXACT, batch=batch) == 0
    for kind in ("float", "uint8"):
        lines = Path(f"{kind}.info").read_text().splitlines()
        for again in range(1, repeat):
            for n in range(case.IMAGES):
                twin = Path(kind, f"im{again}_{n}.bin")
                twin.hardlink_to(Path(kind, f"im_{n}.bin"))
                lines.append(f"{len(lines)} ./{twin} {case.SIZE} {case.SIZE}")
        Path(f"{kind}.info").write_text("".join(f"{line}\n" for line in lines))
    order = np.argsort(-scores(), axis=1)
    labels = [f"im_{n}.JPEG {order[n][n % 7]}" for n in range(case.IMAGES)]
    Path("labels.txt").write_text("".join(f"{line}\n" for line in labels))


def scores() -> NDArray[np.float32]:
    """Return the reference's scores of all pictures, in their order."""
    found: NDArray[np.float32] = models.expected(Path("m.onnx"), case.pictures())[0]
    return found


def expected() -> list[float]:
    """Return Top1 to Top5 of `labels.txt`, in percent: the ranks repeat 0 to 6."""
    ranks = [n % 7 for n in range(case.IMAGES)]
    return [round(sum(rank < top for rank in ranks) / len(ranks) * 100, 2) for top in range(1, 6)]


def run(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command on the stand-ins, with `variables` of theirs."""
    return subprocess.run(
        words,
        env=standins.environment(**variables),
        capture_output=True,
        text=True,
        timeout=120,
    )


def stage(script: str, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a script of the project."""
    return run(sys.executable, str(PROJECT / script), *words, **variables)


def flags(**changes: Any) -> list[str]:
    """Return the guide's flags of the benchmark tool for this case."""
    given = {
        "model_type": "vision",
        "device_id": "0",
        "batch_size": case.BATCH,
        "om_path": f"m_bs{case.BATCH}.om",
        "input_text_path": "./float.info",
        "input_width": case.SIZE,
        "input_height": case.SIZE,
        "output_binary": "False",
        "useDvpp": "False",
    }
    return [f"-{name}={value}" for name, value in (given | changes).items()]


def benchmark(*more: str, fault: str = "", **changes: Any) -> subprocess.CompletedProcess[str]:
    """Run our runner; capitals are variables of the stand-ins."""
    variables = {name: changes.pop(name) for name in list(changes) if name.isupper()}
    variables |= {"STANDIN_FAULT": fault} if fault else {}
    return stage("benchmark.py", *flags(**changes), *more, **variables)


def tops(folder: str, *more: str) -> list[float]:
    """Score a folder; return Top1 to Top5 in percent."""
    done = stage("vision_metric_ImageNet.py", folder, "labels.txt", "./", "scored.json", *more)
    assert done.returncode == 0, done.stderr
    values = json.loads(Path("scored.json").read_text())["value"]
    return [float(v["value"].rstrip("%")) for v in values if v["key"].startswith("Top")]


def made(folder: str = "result/dumpOutput_device0") -> record.Json:
    """Return the record of a folder of dumps."""
    found = record.load(Path(folder))
    assert found is not None
    return found
