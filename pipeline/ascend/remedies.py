"""What to do about an error text of the card's tools, as far as that is known.

Sources: the error texts and their remedies in the guides of the Ascend ModelZoo, the questions and
answers of ais_bench, and the ATC guide. A text that is not here has no known remedy.
"""

from __future__ import annotations

import re

_ROOT = (
    "check `npu-smi info`; driver, firmware and CANN must fit each other, and the user must be in "
    "the group of the driver (the guides go on as root)"
)
_SIZES = (
    "the .bin files are not what the om takes: float32 (602,112 bytes) without AIPP, uint8 "
    "(150,528 bytes) with it, 224 x 224, and -batch_size that of the om"
)

# The first that fits is taken: the particular before the general.
_KNOWN = (
    (
        r"E10001\b.*soc_version|soc_version.*(invalid|not supported|unsupported)",
        "this CANN knows no such --soc_version: it is `Ascend` and the Name in `npu-smi info` "
        "(--soc-version gives another); old CANN has Ascend710 for a 310P",
    ),
    (
        r"E10001\b.*input_shape|E10016\b|E10014\b",
        "--input_shape must name the model's input: the network of vovnet39_pth2onnx.py has "
        "image:B,3,224,224",
    ),
    (
        r"E10001\b.*insert_op_conf",
        "the AIPP file is refused: make it anew with --aipp --force; full-width colons are "
        "the usual slip in one written by hand",
    ),
    (r"E10001\b.*--model\]", "the model is missing or no ONNX: export it anew with --force"),
    (r"E10007\b|\[--framework\] is required", "atc wants --framework=5 for ONNX"),
    (r"E10010\b", "--log takes debug, info, warning, error or null"),
    (r"E10022\b", "--output must name a file in a folder that can be written, without .om"),
    (r"E10054\b", "an option of atc is empty: look at the quotation marks of the command"),
    (r"E10001\b", "an option's value is not one that this CANN takes: see `atc --help`"),
    (
        r"EZ3003\b|EZ9010\b|No supported Ops kernel",
        "this CANN has no kernel for that operator on this chip: check that its OPP package is "
        "installed (ASCEND_OPP_PATH) and that the ONNX has opset 11, simplify it with onnxsim, or "
        "take a newer CANN",
    ),
    (
        # assumed: Python's own text, from the interpreter that atc embeds
        r"No module named '?(te|tbe|topi|decorator|sympy|cffi|yaml|psutil|attrs?)\b",
        "atc compiles kernels with Python packages of its own: CANN 5.0 wants Python 3.7.5 first "
        "on PATH and <CANN>/atc/python/site-packages on PYTHONPATH, besides decorator, sympy, "
        "cffi, pyyaml, psutil and attrs for that Python",
    ),
    (
        r"error while loading shared libraries|cannot open shared object file",
        "the CANN variables are not in force: source set_env.sh of CANN, or env.sh",
    ),
    (r"tensorsize.*filesize.*not match|input size mismatch|size.*not (match|equal)", _SIZES),
    (
        r"save out files error",
        "inputs of half the size were put together into one batch, or the batch is not the "
        "outputs' first axis: check the size of the .bin files",
    ),
    (r"acl open device \d+ failed|open device \d+ failed|507033", f"device not to be had: {_ROOT}"),
    (r"dcmi module initialize failed|-8005\b", f"npu-smi cannot talk to the driver: {_ROOT}"),
    (r"device \d+ is lost|507899", f"the chip was lost while it worked: {_ROOT}"),
    (
        r"load model from file failed|was built for Ascend",
        "the om must be converted for the chip that runs it: --soc-version as `npu-smi info` "
        "names it; --force converts anew",
    ),
    (
        r"path:.* is illegal",
        "ais_bench takes whole paths of A-Z a-z 0-9 _ . / - alone, no links, files of one's own "
        "that others cannot write (chmod -R go-w), and an output folder that others cannot read "
        "(chmod 750)",
    ),
    (
        r"No module named '?(ais_bench|aclruntime)",
        "install the wheels of ais_bench and aclruntime into the Python that runs it",
    ),
    (
        r"aclruntime version|undefined symbol|GLIBCXX_",
        "ais_bench and aclruntime do not fit each other, this Python or this CANN: build both from "
        "one state of the tools' repository (gcc 7.3 or newer)",
    ),
    (r"No space left on device", "free some space"),
    (r"[Pp]ermission denied", "check the permissions; the guides run the tools as root"),
)


def find(text: str) -> str:
    """Return what to do about an error text of a tool, or an empty string."""
    for pattern, remedy in _KNOWN:
        if re.search(pattern, text):
            return remedy
    return ""
