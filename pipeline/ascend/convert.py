"""ONNX -> om by atc, with a record, so that a second run converts only what changed."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from pipeline import chain, identity, record
from pipeline.ascend import commands, discover, tools
from pipeline.ascend.commands import Conversion
from pipeline.errors import PipelineError

STAGE = "atc"
_ANEW = "read the text above; the log is"


def convert(words: Sequence[str], force: bool = False) -> str:
    """Run a command of atc in the current folder; return what there is to say of it.

    What it was made of, the command and the converter decide whether an om is up to date; the
    project's own code does not, as it has no part in it and a conversion takes minutes. A
    conversion that fails leaves an earlier om as it was. Raises PipelineError.
    """
    job = commands.conversion(words)
    atc = tools.which(words[0])
    if atc is None:
        raise PipelineError(f"{words[0]} is not on PATH", "install CANN's toolkit; source env.sh")
    if not job.model.is_file():
        raise PipelineError(f"{job.model} is missing", "export it: vovnet39_pth2onnx.py")
    identity = _identity(atc)
    if not force and _is_current(job, identity):
        return f"up to date: {job.om} (--force makes it anew)"
    model = chain.file(job.model)
    run = record.Run(
        stage=STAGE,
        inputs=[job.model, *([job.aipp] if job.aipp else [])],
        outputs=[job.om],
        settings={
            "words": list(words),
            "soc_version": job.soc,
            "batch_size": job.batch,
            "aipp": str(job.aipp or ""),
        },
        details={"atc": identity, "chain": {"doubts": [model.doubt] if model.doubt else []}},
    )
    with record.keeping(run), _keeping_the_old(job.om):
        ended = tools.run([str(atc), *words[1:]], job.log, aside=True)
        hint = f"{_ANEW} {job.log}, CANN's own are in ~/ascend/log"
        if ended.code:
            raise tools.failed("atc", ended, hint)
        if not job.om.is_file() or not job.om.stat().st_size:
            raise PipelineError(f"atc says that it succeeded and there is no {job.om}", hint)
        run.verdict = f"{job.om}, {job.om.stat().st_size:,} bytes, for {job.soc}"
    return f"{run.verdict} -> {Path.cwd() / job.om}"


def _identity(atc: Path) -> record.Json:
    home = discover.cann_home()
    return {
        "path": str(atc),
        "cann": str(home.resolve()) if home else "",
        "version": discover.cann_version(home) if home else "",
    }


def _is_current(job: Conversion, atc: record.Json) -> bool:
    try:
        made = record.load(job.om)
        return (
            made is not None
            and made["status"] == "complete"
            and made["settings"]["words"] == list(job.words)
            and made["details"]["atc"] == atc
            and all(map(identity.is_unchanged, made["inputs"] + made["outputs"]))
        )
    except (PipelineError, OSError, KeyError, TypeError):
        return False  # a record that says too little: the om is made anew


@contextlib.contextmanager
def _keeping_the_old(om: Path) -> Iterator[None]:
    """Put an earlier om aside, and back where the block fails; what it has begun is removed."""
    aside = om.with_name(f".{om.name}.before")
    with contextlib.suppress(FileNotFoundError):
        om.replace(aside)
    try:
        yield
    except BaseException:
        om.unlink(missing_ok=True)
        with contextlib.suppress(FileNotFoundError):
            os.replace(aside, om)  # noqa: PTH105 -- one name for both ways
        raise
    aside.unlink(missing_ok=True)
