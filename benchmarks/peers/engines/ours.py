"""The project's own default path: `pipeline.engines.load("auto", ...)`, nothing else set."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from benchmarks.peers.engines import Models, Unavailable, Wish
from pipeline import engines
from pipeline.errors import PipelineError

PACKAGES = ("onnx",)


class OursOpened:
    """See `benchmarks.peers.engines.Opened`."""

    def __init__(self, session: engines.Session) -> None:
        self._session = session
        self.streams = session.requests
        self.version = f"{session.engine} {session.version}, {session.precision}"

    def infer(self, stream: int, batch: NDArray[Any]) -> NDArray[Any]:
        """Return the logits."""
        return self._session.infer(stream, batch)[0]


def open_model(models: Models, wish: Wish) -> OursOpened:
    """Open the model; Unavailable where the precision is refused."""
    path = models.int8 if wish.precision == "int8" else models.onnx
    settings = engines.Settings(wish.batch, None, wish.precision)
    try:
        return OursOpened(engines.load(engines.AUTO, path, settings))
    except PipelineError as error:
        raise Unavailable(str(error)) from error
