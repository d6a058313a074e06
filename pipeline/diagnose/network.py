"""The network's part of the chain: the model's input, its layers, its batches, its engine."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline import engines, judge, progress, untrained
from pipeline.diagnose import feeds
from pipeline.diagnose.compare import Difference, difference
from pipeline.diagnose.feeds import Pixels
from pipeline.diagnose.findings import DIFFERS, EXPLAINED, SAME, Step, skipped
from pipeline.diagnose.samples import Sample
from pipeline.diagnose.stored import CHW, HWC, Form
from pipeline.engines import INT8, Settings, model_file
from pipeline.errors import PipelineError
from pipeline.imagenet import CROP

if TYPE_CHECKING:
    from pipeline.diagnose.source import Source

INPUT, LAYERS, BATCH, ENGINE = "model input", "layers", "batch size", "engine"
PICTURES = 3  # that the layers are compared on
LEAST_UNTRAINED_DB = 3.0  # of a reduced precision, where no limit for trained networks holds
FP32 = 1e-4  # relative, as selfcheck has it


@dataclass
class Model:
    """A model and how it takes its input; `form` is None where it takes no pictures of 224."""

    path: Path
    file: model_file.ModelFile
    session: engines.Session
    form: Form | None
    batch: int
    is_free: bool  # its batch
    feed: feeds.Feed | None = None

    @property
    def quantised(self) -> bool:
        """Say whether it is an int8 model."""
        return self.file.quantized

    def logits(self, values: NDArray[Any]) -> NDArray[np.float32]:
        """Return the first output for inputs (N, ...), a row of values each."""
        rows = []
        for first in range(0, len(values), self.batch):
            part = values[first : first + self.batch]
            missing = self.batch - len(part)
            full = np.concatenate([part, part[-1:].repeat(missing, axis=0)]) if missing else part
            output = self.session.infer(0, np.ascontiguousarray(full))[0]
            if len(output) != len(full):
                raise PipelineError(
                    f"{self.path} answers {output.shape} to {len(full)} pictures",
                    "give a model with a row of logits per picture",
                )
            rows.append(output.reshape(len(output), -1)[: len(part)])
        return np.concatenate(rows).astype(np.float32)


def open_model(path: Path) -> Model:
    """Load a model as the reference runs it: ONNX Runtime, fp32 or the int8 that it has.

    Raises PipelineError where it is none that runs here.
    """
    found = model_file.identify(path)
    precision = INT8 if found.quantized else "fp32"
    batch = _fixed_batch(path, found) or 1
    name = "onnxruntime" if found.kind == model_file.ONNX else engines.AUTO
    session = engines.load(name, found, Settings(batch, None, precision, requests=1))
    shape, dtype = session.inputs[0].shape, session.inputs[0].dtype
    form = None
    if tuple(shape[1:]) == (3, CROP, CROP):
        form = Form(dtype, CHW, CROP)
    elif tuple(shape[1:]) == (CROP, CROP, 3):
        form = Form(dtype, HWC, CROP)
    return Model(path, found, session, form, batch, _fixed_batch(path, found) is None)


def _fixed_batch(path: Path, found: model_file.ModelFile) -> int | None:
    if found.kind != model_file.ONNX:
        return None
    import onnx

    graph = onnx.load_model(path, format="protobuf", load_external_data=False).graph
    constants = {tensor.name for tensor in graph.initializer}
    for value in graph.input:
        if value.name not in constants and value.type.tensor_type.shape.dim:
            return value.type.tensor_type.shape.dim[0].dim_value or None
    return None


def pixels_of(chosen: Sequence[Sample]) -> Pixels:
    """Return the reference's pixels of samples: uint8 (N, 224, 224, 3)."""
    return np.stack([sample.reference for sample in chosen])


def examine(
    checkpoint: Path | None,
    arch: str,
    model: Model | None,
    chosen: Sequence[Sample],
    wanted: tuple[str | None, str | None],
    *,
    verbose: bool = False,
) -> list[Step]:
    """Return the steps of the network; `wanted` are the engine and the precision of the user."""
    names = (INPUT, LAYERS, BATCH, ENGINE)
    if model is None:
        return [skipped(name, "give --model") for name in names]
    if model.form is None:
        shape = "x".join("?" if n is None else str(n) for n in model.session.inputs[0].shape)
        why = f"the model takes {shape}, and the reference makes pictures of {CROP}x{CROP}"
        return [skipped(name, why) for name in names]
    pixels = pixels_of(_spread(chosen, PICTURES))
    usual = next(iter(feeds.of(model.form).values()))
    model.feed = usual
    steps: list[Step] = []
    batches = _batches(model, pixels)
    if checkpoint is None:
        steps += [skipped(name, "give --checkpoint") for name in (INPUT, LAYERS)]
    else:
        from pipeline.diagnose import source

        progress.note("comparing the model with its checkpoint, layer by layer")
        network = source.Source(checkpoint, arch)
        steps += _against(network, model, pixels, batches.parts, verbose)
    steps.append(batches)
    steps.append(_engine(model, pixels, *wanted))
    return steps


def _spread(chosen: Sequence[Sample], count: int) -> list[Sample]:
    """Return samples that are not flat, the most colourful of each part of the set."""
    able = [s for s in chosen if s.contrast > 4] or list(chosen)
    step = max(1, len(able) // count)
    return able[::step][:count]


def _against(
    network: Source, model: Model, pixels: Pixels, training: bool, verbose: bool
) -> Iterator[Step]:
    """Yield the steps that need the checkpoint: the model's input, and its layers."""
    from pipeline.diagnose import layers
    from pipeline.diagnose.source import LOGITS

    form = model.form
    if form is None:
        return
    tensors = np.ascontiguousarray(feeds.normalised(pixels).transpose(0, 3, 1, 2))
    trace = network.trace(tensors)
    expected = trace.values[LOGITS]
    tried: dict[str, Difference] = {}
    limit = limit_of(model, None)
    for name, feed in feeds.of(form).items():
        # The usual way is tried on all pictures, the others on one.
        count = 1 if tried else len(pixels)
        tried[name] = difference(expected[:count], model.logits(feed(pixels[:count])))
        if limit(tried[name]):
            model.feed = feed
            break
    names = list(tried)
    best = names[-1] if limit(tried[names[-1]]) else names[0]
    if best == names[0]:
        yield Step(INPUT, SAME, "", f"{best}, {form}")
    else:
        said = f"the model takes {best} where the preprocessing gives {names[0]}"
        yield Step(
            INPUT,
            EXPLAINED,
            str(tried[names[0]]),
            said,
            said,
            f"give it {best}, or export it again with vovnet39_pth2onnx.py",
            tried[best].figures(),
        )
    if model.file.kind != model_file.ONNX:
        yield _outputs_only(model, tried[best], limit)
        return
    yield layers.examine(
        network, trace, model, pixels, tried[best], training=training, verbose=verbose
    )


def _outputs_only(model: Model, found: Difference, limit: Callable[[Difference], bool]) -> Step:
    why = f"{model.file.kind} shows no layers; the logits alone: {found}"
    if limit(found):
        return Step(LAYERS, SAME, str(found), why, figures=found.figures())
    said = f"the model's logits are not those of the checkpoint ({found})"
    return Step(LAYERS, DIFFERS, str(found), why, said, "give the ONNX file that it was made of")


def limit_of(model: Model, precision: str | None) -> Callable[[Difference], bool]:
    """Return what says whether a difference is one of the precision: fp32 unless reduced."""
    reduced = model.quantised or precision not in (None, "fp32")
    if not reduced:
        return lambda found: found.relative <= FP32
    least = judge.LEAST_SQNR_DB
    if model.file.kind == model_file.ONNX and untrained.is_untrained(model.path):
        least = LEAST_UNTRAINED_DB
    return lambda found: found.sqnr_db >= least


def _batches(model: Model, pixels: Pixels) -> Step:
    """Say whether an image's answer depends on the images beside it."""
    if model.feed is None:
        return skipped(BATCH, "the model's input is unknown")
    values = model.feed(pixels)
    if model.is_free and model.file.kind == model_file.ONNX:
        together = _together(model, values)
    elif model.batch > 1:
        together = model.logits(values)
        values = values[::-1]
        found = difference(together, model.logits(values)[::-1])
        return _batch_step(found, f"a batch of {model.batch} in another order")
    else:
        return skipped(BATCH, "the model's batch is fixed to 1")
    found = difference(model.logits(values), together)
    return _batch_step(found, f"one by one and {len(values)} together")


def _batch_step(found: Difference, how: str) -> Step:
    if found.relative <= 1e-3:
        return Step(BATCH, SAME, str(found), how, figures=found.figures())
    said = "an image's answer depends on the images in its batch, as with batch norm in training"
    return Step(
        BATCH,
        EXPLAINED,
        str(found),
        how,
        said,
        "call model.eval() before the export",
        found.figures(),
    )


def _together(model: Model, values: NDArray[Any]) -> NDArray[np.float32]:
    precision = INT8 if model.quantised else "fp32"
    settings = Settings(len(values), None, precision, requests=1)
    session = engines.load("onnxruntime", model.file, settings)
    answer = session.infer(0, values)[0]
    return answer.reshape(len(answer), -1).astype(np.float32)


def _engine(model: Model, pixels: Pixels, engine: str | None, precision: str | None) -> Step:
    """Compare the engine and the precision that the user names with the reference engine."""
    if model.feed is None:
        return skipped(ENGINE, "the model's input is unknown")
    if engine is None and precision is None:
        return skipped(ENGINE, "give --engine or --precision, to compare it with ONNX Runtime")
    wanted = INT8 if model.quantised else precision or "fp32"
    settings = Settings(model.batch, None, wanted, requests=1)
    try:
        session = engines.load(engine or engines.AUTO, model.file, settings)
    except PipelineError as error:
        return skipped(ENGINE, str(error))
    values = model.feed(pixels)
    other = Model(model.path, model.file, session, model.form, model.batch, model.is_free)
    found = difference(model.logits(values), other.logits(values))
    name = f"{session.engine} {session.version}, {session.precision}"
    good = limit_of(model, wanted)(found) and math.isfinite(found.absolute)
    if good:
        expected = "" if wanted == "fp32" else f", expected of {wanted}"
        return Step(ENGINE, SAME, str(found), f"{name}{expected}", figures=found.figures())
    said = f"{name} answers otherwise than ONNX Runtime ({found})"
    return Step(
        ENGINE,
        DIFFERS,
        str(found),
        name,
        said,
        "run it with --engine onnxruntime, or in fp32",
        found.figures(),
    )
