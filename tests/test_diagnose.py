"""`python3 -m pipeline diagnose`: every planted fault is named, and what is right passes.

What is planted lies in `tests/diagnosis`, made by the libraries' own calls; `python3 -m
tests.diagnose_table` prints all of it with what was said.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.diagnosis import answers, network, preprocessing
from tests.diagnosis.fault import Fault, ask
from tests.diagnosis.ground import Ground

# One of each kind in every run; the others, and what needs the whole network, are slow.
_QUICK = frozenset(
    (
        "EXIF rotation applied",
        "BGR instead of RGB",
        "cv2.INTER_LINEAR (no antialias)",
        "crop moved by +3, -2 pixels",
        "divided by 255 twice",
        "mean .4 .41 .42, std .3 .31 .29",
        "float16 and HWC",
        "a script on OpenCV (imread, resize, BGR)",
        "one weight of one layer changed",
    )
)


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Ground:
    return Ground(tmp_path_factory.mktemp("a ground"))


def cases(faults: tuple[Fault, ...], *, quick: bool = False) -> list[object]:
    return [
        pytest.param(
            fault,
            id=fault.name,
            marks=() if quick or fault.name in _QUICK else pytest.mark.slow,
        )
        for fault in faults
    ]


def check(ground: Ground, fault: Fault) -> None:
    said = ask(ground, fault)
    assert said.names(fault), f"{said.code}, {said.step}: {said.line}"


@pytest.mark.parametrize("fault", cases(preprocessing.ALL))
def test_a_fault_of_the_preprocessing_is_named(ground: Ground, fault: Fault) -> None:
    check(ground, fault)


@pytest.mark.parametrize("fault", cases((*network.LAYERS, *network.INT8, *network.INPUT)))
def test_a_fault_of_the_conversion_is_named(ground: Ground, fault: Fault) -> None:
    check(ground, fault)


@pytest.mark.parametrize(
    "fault", cases((*answers.FILES, *answers.DUMPS, *answers.LABELS), quick=True)
)
def test_a_fault_of_files_dumps_or_labels_is_named(ground: Ground, fault: Fault) -> None:
    check(ground, fault)


@pytest.mark.parametrize("fault", [*cases(answers.CONTROLS, quick=True), *cases(network.CONTROLS)])
def test_nothing_is_found_where_nothing_is_wrong(ground: Ground, fault: Fault) -> None:
    check(ground, fault)


def test_the_faults_have_names_of_their_own() -> None:
    faults = (*preprocessing.ALL, *network.ALL, *answers.ALL)
    assert len({fault.name for fault in faults}) == len(faults)
    assert sum(not fault.control for fault in faults) >= 35
    assert set(_QUICK) <= {fault.name for fault in faults}


def test_the_plant_leaves_batch_norms_in_the_graph_where_it_says_so(ground: Ground) -> None:
    import onnx

    unfolded = next(fault for fault in network.CONTROLS if "unfolded" in fault.name)
    model = Path(str(unfolded.plant(ground)[-1]))
    operators = {node.op_type for node in onnx.load_model(model).graph.node}
    assert "BatchNormalization" in operators
