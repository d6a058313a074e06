"""What the benchmark tool reads and writes: info files, samples, dumps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.standins import faults, om
from tests.standins.network import Network


class ToolError(Exception):
    """The tool ends with an error; the text is what it prints."""


def read_info(path: str, inputs: int, vision: bool) -> list[list[Path]]:
    """Return each sample's files, one per input: four columns for vision, otherwise two.

    assumed: fields end at white space, so that a path with a space is not found.
    """
    try:
        lines = Path(path).read_text().splitlines()
    except OSError as error:
        raise ToolError(f"open {path} failed: {error.strerror}") from error
    if vision and inputs != 1:
        raise ToolError(f"vision takes models of one input, and this one has {inputs}")
    columns = 4 if vision else 2
    samples: list[list[Path]] = []
    previous = None
    for number, line in enumerate(lines, 1):
        fields = line.split()
        if len(fields) != columns or not fields[0].isdigit():
            raise ToolError(f"{path}:{number}: expected {columns} fields, the index first")
        if vision or fields[0] != previous:
            samples.append([])
        previous = fields[0]
        samples[-1].append(Path(fields[1]))
    if not samples or any(len(sample) != inputs for sample in samples):
        raise ToolError(f"{path}: expected {inputs} inputs for each of its samples")
    return samples


def read_sample(files: list[Path]) -> list[bytes]:
    """Return the bytes of one sample, per input."""
    try:
        return [file.read_bytes() for file in files]
    except OSError as error:
        raise ToolError(f"open {error.filename} failed: {error.strerror}") from error


def compose(network: Network, samples: list[list[bytes]], files: list[list[Path]]) -> list[bytes]:
    """Return one batch per input, filled up with zeros; ToolError where a size does not match.

    assumed: the zeros; what the tool fills a partial batch with is unknown.
    """
    batch = network.batch * (2 if faults.is_active("batch_mismatch") else 1)
    joined = []
    for rank, tensor in enumerate(network.inputs):
        size = tensor.size // batch
        for sample, paths in zip(samples, files, strict=True):
            if len(sample[rank]) != size:
                # assumed: the wording; documented is only that a mismatch of sizes is an error.
                raise ToolError(
                    f"input size mismatch: {paths[rank]} has {len(sample[rank])} bytes, "
                    f"and the model takes {size}"
                )
        data = b"".join(sample[rank] for sample in samples)
        joined.append(data.ljust(tensor.size, b"\0"))
    return joined


def check_batch(network: Network, batch_size: int) -> None:
    """Raise ToolError where the om was built with another batch than asked for."""
    if network.batch != batch_size or faults.is_active("batch_mismatch"):
        built = network.batch * (2 if faults.is_active("batch_mismatch") else 1)
        tensor: om.Tensor = network.inputs[0]
        wanted = tensor.size // network.batch * batch_size
        # assumed: the wording.
        raise ToolError(
            f"input size mismatch: {wanted} bytes for a batch of {batch_size}, "
            f"and the model takes {tensor.size // network.batch * built}"
        )


def write_dumps(
    folder: Path, stem: str, outputs: list[NDArray[Any]], row: int, batch: int, binary: bool
) -> None:
    """Write the outputs of the sample in `row` of a batch, one file each, numbered from 1."""
    for number, output in enumerate(outputs, 1):
        # assumed: an output that is not divided by the batch goes whole into each sample's file.
        part = np.array_split(output, batch)[row] if len(output) % batch == 0 else output
        path = folder / f"{stem}_{number}.{'bin' if binary else 'txt'}"
        path.write_bytes(part.tobytes() if binary else to_text(part))


def to_text(values: NDArray[Any]) -> bytes:
    """Return one line: a space after each value; int64 comes out as 0, as documented.

    Six significant digits, and a newline at the end. assumed: both.
    """
    if values.dtype == np.int64:
        words = ["0"] * values.size
    elif values.dtype.kind == "f":
        words = [f"{value:.6g}" for value in values.reshape(-1).tolist()]
    else:
        words = [str(int(value)) for value in values.reshape(-1).tolist()]
    return "".join(f"{word} " for word in words).encode() + b"\n"
