"""The stand-in of `atc`, the converter from ONNX to om."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tests.standins import atc_model, faults
from tests.standins.atc_options import FAILURE, START, SUCCESS, AtcError, parse

FAILED = 255  # all ones, as a shell sees it
WARNING = (
    "W11001: Op [trans_TransData_0] does not hit the high-priority operator information library, "
    "which might result in compromised performance."
)


def main(words: list[str]) -> int:
    """Convert as the options in `words` say; return the exit status."""
    print("stand-in for atc: the om it writes is of no use to a card", file=sys.stderr)
    print(START, flush=True)
    try:
        options = parse(words)
        faults.start_slowly()
        if not faults.is_active("atc_silent"):
            atc_model.convert(options)
    except AtcError as error:
        print(f"{FAILURE}\n{error}")
        return FAILED
    except OSError as error:
        # assumed: the wording for an output that cannot be written.
        print(f"{FAILURE}\nE10022: {error.filename}: {error.strerror}")
        return FAILED
    _leave_behind(options)
    print(SUCCESS)
    if faults.is_active("atc_warning"):
        print(WARNING)
    return 0


def _leave_behind(options: dict[str, str]) -> None:
    # Documented is that both are left in the working directory, not what is in them.
    Path("fusion_result.json").write_text(
        json.dumps([{"graph_fusion": {}, "session_and_graph_id_0_0": {}}])
    )
    kernels = Path(options.get("debug_dir", "kernel_meta"))
    kernels.mkdir(parents=True, exist_ok=True)
    (kernels / "standin_kernel.json").write_text("{}")
