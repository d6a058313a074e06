"""Engines that run a model on this machine's processor, or its card, behind one small interface.

An engine is one file here, `<name>_engine.py`, that holds an `ENGINE`. Its package is imported
when the engine is chosen and not before, so that one may be missing.
"""

from __future__ import annotations

import importlib
import math
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from pipeline import machine, progress
from pipeline.errors import PipelineError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pipeline.engines.cache import Cache
    from pipeline.engines.model_file import ModelFile

AUTO = "auto"
INT8 = "int8"
PRECISIONS = ("fp32", "bf16", INT8)
CONVERTED = "as converted"  # the precision of a model that has its own, whatever is asked for
MOST_SAMPLE_BYTES = 1 << 30  # of the input; a picture here has 0.6 MiB
_SUFFIX = "_engine"


@dataclass(frozen=True)
class TensorInfo:
    """One input or output of a model; None stands for a dimension that is not fixed."""

    name: str
    shape: tuple[int | None, ...]
    dtype: np.dtype[Any]


@dataclass(frozen=True)
class Settings:
    """What a session is asked for.

    A dynamic batch becomes `batch_size`. `threads` are the engine's own, all together (None: all
    usable cores). `requests` is how many inferences are in flight at a time (None: as many as the
    engine gains from). `cache` is where compiled models are kept, if anywhere. `devices` are the
    chips of a card that share the work; a processor is none.
    """

    batch_size: int
    threads: int | None = None
    precision: str = "fp32"
    requests: int | None = None
    cache: Cache | None = None
    devices: tuple[int, ...] = (0,)


class DeviceLost(PipelineError):
    """One device of several failed, and takes no more work; the others go on."""


class Session(Protocol):
    """A loaded model. The attributes say what is in force, not what was asked for.

    `executed[request]` are start and end (`time.perf_counter_ns`) of the engine's own call within
    the last `infer` of that request, without the hand-over of inputs and the copies of outputs
    where the engine lets one tell them apart. `start` says where the compiled model came from.
    """

    engine: str
    version: str
    precision: str
    threads: int
    requests: int
    start: str
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    executed: list[tuple[int, int]]

    def infer(self, request: int, batch: NDArray[Any]) -> list[NDArray[Any]]:
        """Run one batch; the outputs belong to the caller. One thread per request."""

    def cancel(self) -> None:
        """Make running calls raise soon, from any thread; the session is of no use after it."""


@dataclass(frozen=True)
class Engine:
    """What an engine file offers; `rank` orders the choice of `auto`, the greatest first.

    `remedy` is what to do where `package` is missing. `on_card` says that it takes a list of
    devices, and neither threads nor a precision.
    """

    name: str
    package: str
    rank: int
    kinds: frozenset[str]
    precisions: tuple[str, ...]
    open_session: Callable[[ModelFile, Settings], Session]
    remedy: str = "install requirements.txt into the environment"
    on_card: bool = False


def names() -> tuple[str, ...]:
    """Return the names of all engines, whether their packages are installed or not."""
    found = (module.name for module in pkgutil.iter_modules(__path__))
    return tuple(name.removesuffix(_SUFFIX) for name in found if name.endswith(_SUFFIX))


def load(engine: str, model: Path | ModelFile, settings: Settings) -> Session:
    """Load `model` for `settings.batch_size` in the engine of that name, or in the best for `auto`.

    The model is told by its content, whatever its name. Raises PipelineError where the file is no
    model that runs here, the engine is missing, it or the processor lacks the precision, the model
    has not exactly one input, or its batch is fixed to another size. An int8 model runs as int8
    and as nothing else, and no other model does; an om runs as it was converted.
    """
    from pipeline.engines import model_file

    if isinstance(model, model_file.ModelFile):
        found = model
    else:
        found = model_file.identify(model, settings.cache)
    chosen = _choose(engine, found)
    _check_settings(chosen, found.path, settings)
    if found.quantized and settings.precision != INT8:
        raise PipelineError(
            f"{found.path} is an int8 model, and the precision asked for is {settings.precision}",
            f"ask for {INT8}, or give the fp32 model",
        )
    if settings.precision == INT8 and not (found.quantized or chosen.on_card):
        raise PipelineError(
            f"{found.path} is no int8 model", "make one of it with vovnet39_quantize.py"
        )
    session = chosen.open_session(found, settings)
    if session.precision not in (settings.precision, CONVERTED):
        raise PipelineError(
            f"{chosen.name} takes {session.precision} for {found.path} where"
            f" {settings.precision} was asked for",
            "choose another -precision or -engine",
        )
    _check(session, found.path, settings.batch_size)
    return session


def new_batch(session: Session, shape: tuple[int, ...]) -> NDArray[Any]:
    """Return zeros of the dtype of the model's input, where `session` can take them from at once.

    They are of use as long as the session is.
    """
    import numpy as np

    own = getattr(session, "new_batch", None)
    made: NDArray[Any] = own(shape) if own else np.zeros(shape, session.inputs[0].dtype)
    return made


def usable_threads(settings: Settings) -> int:
    """Return how many threads the engine gets."""
    return settings.threads or machine.usable_cores()


def failure(engine: str, doing: str, error: Exception) -> PipelineError:
    """Return an engine's own error as one line; engines like to write a page."""
    words = " ".join(str(error).split())
    return PipelineError(f"{engine} failed {doing}: {words[:300]}", "see what it says of the model")


def _choose(name: str, model: ModelFile) -> Engine:
    kind = model.kind
    if name != AUTO:
        engine = _engine(name)
        if kind not in engine.kinds:
            raise PipelineError(
                f"the engine {name} does not run a model of the kind {kind}",
                f"it takes {' and '.join(sorted(engine.kinds))}",
            )
        try:
            importlib.import_module(engine.package)
        except ImportError as error:
            raise _missing(engine, error) from error
        return engine
    reasons = []
    remedy = ""
    for engine in sorted(map(_engine, names()), key=lambda e: -e.rank):
        if kind not in engine.kinds:
            continue
        try:
            importlib.import_module(engine.package)
        except ImportError as error:
            reasons.append(_missing(engine, error).what)
            remedy = engine.remedy
            continue
        passed = f", passed over: {', '.join(reasons)}" if reasons else ""
        progress.detail(f"engine {engine.name}: the fastest one that runs {kind}{passed}")
        return engine
    raise PipelineError(
        f"no engine for a model of the kind {kind}: {', '.join(reasons)} ({model.path})", remedy
    )


def _check_settings(chosen: Engine, model: Path, settings: Settings) -> None:
    """Refuse what the engine has no use for."""
    if not chosen.on_card and len(settings.devices) > 1:
        numbers = ",".join(map(str, settings.devices))
        raise PipelineError(
            f"-device_id={numbers} are chips of a card, and {chosen.name} runs {model} on the"
            " processor",
            "give one number, which only names the results here, or an om",
        )
    if chosen.on_card and settings.threads:
        raise PipelineError(
            f"-threads has no meaning for {model}, which runs on a card", "leave it out"
        )
    if chosen.on_card and settings.precision != PRECISIONS[0]:
        raise PipelineError(
            f"{model} has the precision that it was converted with, and {settings.precision} was"
            " asked for",
            "leave out -precision, or convert it with another --precision_mode of atc",
        )
    if settings.precision not in chosen.precisions:
        raise PipelineError(
            f"the engine {chosen.name} has no precision {settings.precision}",
            f"it has {', '.join(chosen.precisions)}",
        )


def _engine(name: str) -> Engine:
    if name not in names():
        raise PipelineError(f"no engine is named {name!r}", f"there are {', '.join(names())}")
    found = importlib.import_module(f"{__name__}.{name}{_SUFFIX}").ENGINE
    if not isinstance(found, Engine):
        raise TypeError(f"{name}{_SUFFIX}.ENGINE is {type(found)}")
    return found


def _missing(engine: Engine, error: ImportError) -> PipelineError:
    return PipelineError(
        f"the engine {engine.name} cannot be imported ({error})",
        f"{engine.remedy}, or choose another -engine",
    )


def _check(session: Session, model: Path, batch_size: int) -> None:
    """Refuse a model that takes no plain batches of `batch_size` samples."""
    if len(session.inputs) != 1:
        inputs = ", ".join(info.name for info in session.inputs) or "none"
        raise PipelineError(
            f"{model} has {len(session.inputs)} inputs ({inputs})",
            "only models with one input are run here",
        )
    info = session.inputs[0]
    if not info.shape or None in info.shape[1:]:
        raise PipelineError(
            f"{model}: input {info.name!r} has the shape {_shape(info)}, not fixed but for the"
            " batch",
            "export the model with a fixed input size",
        )
    if any((size or 0) < 1 for size in info.shape[1:]):
        raise PipelineError(
            f"{model}: input {info.name!r} has the shape {_shape(info)}, which holds nothing",
            "export the model with a fixed input size",
        )
    if info.dtype.itemsize * math.prod(size or 0 for size in info.shape[1:]) > MOST_SAMPLE_BYTES:
        raise PipelineError(
            f"{model}: input {info.name!r} has the shape {_shape(info)}, larger than any picture",
            "is it the network you meant?",
        )
    if info.shape[0] not in (None, batch_size):
        raise PipelineError(
            f"{model}: input size mismatch: its batch is fixed to {info.shape[0]},"
            f" and -batch_size is {batch_size}",
            f"give -batch_size={info.shape[0]}, or a model for batches of {batch_size}",
        )


def _shape(info: TensorInfo) -> str:
    return "x".join("?" if size is None else str(size) for size in info.shape) or "(none)"
