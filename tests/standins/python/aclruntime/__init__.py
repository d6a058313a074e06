"""Stand-in for `aclruntime`, the binding under `ais_bench`; see tests/standins/README.md.

It has the names that the front end needs, with the misspellings that they have there.
"""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[4]))  # for `tests.standins`

from ._session import (
    InferenceSession,
    MemorySummary,
    infer_options,
    model,
    session_options,
    sumary,
)
from ._tensors import BaseTensor, Tensor, dtype, tensor_desc

__all__ = [
    "BaseTensor",
    "InferenceSession",
    "MemorySummary",
    "Tensor",
    "dtype",
    "infer_options",
    "model",
    "session_options",
    "sumary",
    "tensor_desc",
]
