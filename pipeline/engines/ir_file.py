"""An OpenVINO IR from outside: its XML, read once and never held, before OpenVINO sees it.

An IR has no document type, and so no entities that stand for others: one that has is refused, and
with it every entity bomb and every reference to a file elsewhere.
"""

from __future__ import annotations

from pathlib import Path
from xml.parsers import expat

from pipeline.errors import PipelineError

_MOST_BYTES = 256 << 20  # OpenVINO's reader of XML holds it all; 0.3 MiB here
_MOST_DEPTH = 100  # OpenVINO's reader of XML calls itself for each level
_AGAIN = "convert the model again"


def examine(path: Path, weights: int | None) -> bool:
    """Say whether the IR at `path` is quantised; `weights` is the length of its other file.

    PipelineError where it is broken XML, no IR, or refers to weights beyond that length (None:
    whatever they are).
    """
    if path.stat().st_size > _MOST_BYTES:
        raise PipelineError(f"{path} has more than {_MOST_BYTES >> 20} MiB of XML", _AGAIN)
    reader = _Reader(path, weights)
    parser = expat.ParserCreate()
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.StartDoctypeDeclHandler = reader.refuse_document_type
    try:
        with path.open("rb") as file:
            parser.ParseFile(file)
    except (expat.ExpatError, ValueError, LookupError) as error:  # the latter two: its encoding
        raise PipelineError(f"{path} is broken XML: {error}", _AGAIN) from error
    return reader.quantized


class _Reader:
    def __init__(self, path: Path, weights: int | None) -> None:
        self.quantized = False
        self._path, self._weights, self._depth = path, weights, 0

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        if self._depth == 0 and tag != "net":
            raise PipelineError(
                f"{self._path} is XML with the root <{tag[:40]}>, and no OpenVINO IR",
                "give an ONNX model or an OpenVINO IR",
            )
        self._depth += 1
        if self._depth > _MOST_DEPTH:
            raise PipelineError(f"{self._path} is nested more deeply than any IR", _AGAIN)
        if tag == "layer" and attributes.get("type") == "FakeQuantize":
            self.quantized = True
        elif tag == "data" and "offset" in attributes and "size" in attributes:
            self._check_span(attributes["offset"], attributes["size"])

    def end(self, tag: str) -> None:
        self._depth -= 1

    def refuse_document_type(self, *rest: object) -> None:
        raise PipelineError(f"{self._path} has a document type, which no OpenVINO IR has", _AGAIN)

    def _check_span(self, offset: str, size: str) -> None:
        for word in (offset, size):
            if not (word.isascii() and word.isdigit() and len(word) <= 18):
                raise PipelineError(f"{self._path} has weights at no place of their file", _AGAIN)
        stop = int(offset) + int(size)
        if self._weights is not None and stop > self._weights:
            raise PipelineError(
                f"{self._path} needs {stop} bytes of weights, and the file beside it has"
                f" {self._weights}",
                "copy both files again",
            )
