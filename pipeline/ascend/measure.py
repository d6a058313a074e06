"""A run of Huawei's benchmark tool, or of ais_bench, checked before and after.

Both write into result/dumpOutput_device<D> here. What lies there is taken for whole only where
every image of the info file has all its results and the figures are there, whatever the exit code.
"""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline import atomic, chain, identity, places, record
from pipeline.ascend import aipp, commands, discover, tools
from pipeline.ascend.commands import Measurement
from pipeline.errors import PipelineError
from pipeline.formats import dump, info, perf
from pipeline.imagenet.labels import stem_of

_CLOSED = 0o750  # ais_bench of 2025 refuses an output folder that others can read
_AGAIN = "start the run again; nothing of this one is scored"


def measure(words: Sequence[str], info_file: Path) -> str:
    """Run a tool's command in the current folder; return what there is to say of it.

    Raises PipelineError where the inputs do not fit the om, before the tool is started; where the
    tool fails, with its known remedy; and where it leaves less than there must be.
    """
    job = commands.measurement(words)
    om, made = _om(job)
    with_aipp = bool(chain.field(made, str, "settings", "aipp"))
    stems = _samples(job, info_file, with_aipp)
    folders = sorted({Path(line.path).parent for line in info.read_info(info_file)})
    listed = chain.listing(info_file, folders, {"dtype": "uint8" if with_aipp else "float32"})
    program, env = _program(job)
    _clear(job)
    run = record.Run(
        stage=chain.BENCHMARK,
        inputs=[job.om, info_file, *folders],
        outputs=[job.dumps, job.speed],
        settings={"batch_size": job.batch, "device": job.device, "runner": job.runner},
        counts={"samples": len(stems), "dumped": 0, "not_done": len(stems)},
        details={
            "engine": Path(words[0]).name if job.runner == discover.TOOL else discover.AIS_BENCH,
            "soc_version": chain.field(made, str, "settings", "soc_version") or "unknown",
            "chain": chain.facts(om, listed),
        },
    )
    with record.keeping(run):
        ended = tools.run(program, job.log, env)
        if ended.code:
            raise tools.failed(_name(job), ended, f"{_AGAIN}; its text is in {job.log}")
        outputs = _check_whole(job, stems)
        _keep_figures(job)
        run.counts |= {"dumped": len(stems), "not_done": 0, "outputs_per_sample": outputs}
        run.verdict = f"{len(stems)} images, batch {job.batch}, device {job.device}"
    # The next batch size on this device replaces the dumps and their record, not the figures.
    record.copy(job.dumps, job.speed)
    return f"{run.verdict} -> {job.dumps}, {job.speed}"


def _name(job: Measurement) -> str:
    return "ais_bench" if job.runner == discover.AIS_BENCH else Path(job.words[0]).name


def _om(job: Measurement) -> tuple[chain.Standing, record.Json]:
    """Return how the om stands, and its record; PipelineError where it does not fit the command."""
    if not job.om.is_file():
        raise PipelineError(f"{job.om} is missing", "convert it first: ./run_all.sh --from om")
    om = chain.file(job.om)
    if om.made is not None and not om.verified:
        raise PipelineError(
            f"{job.om} is not what atc has left", "convert it again: ./run_all.sh --from om"
        )
    made = om.made or {}
    batch = chain.field(made, int, "settings", "batch_size")
    if batch is not None and batch != job.batch:
        raise PipelineError(
            f"{job.om} was converted for batches of {batch}, and the command says {job.batch}",
            "the two must be equal",
        )
    return om, made


def _samples(job: Measurement, info_file: Path, with_aipp: bool) -> set[str]:
    """Return the names that results must bear, after a look at each file that is to be read."""
    lines = info.read_info(info_file)
    for line in lines:
        # assumed: the tool splits the lines of an info file at white space.
        if line.path != "".join(line.path.split()):
            raise PipelineError(
                f"{info_file} lists {line.path!r}, and the tool would end the name at the space",
                "rename the image, and prepare it again",
            )
    aipp.check_bins(info_file, aipp.sample_bytes(with_aipp))
    stems = Counter(_stem(job, line.path) for line in lines)
    twice, count = stems.most_common(1)[0]
    if count > 1:
        raise PipelineError(f"{info_file} lists {twice} {count} times", "list each image once")
    return set(stems)


def _stem(job: Measurement, path: str) -> str:
    """Return the name under which a tool files the result of an input."""
    name = Path(path).name
    return stem_of(name) if job.runner == discover.AIS_BENCH else Path(name).stem


def _program(job: Measurement) -> tuple[list[str], Mapping[str, str]]:
    """Return the program with its arguments, and the environment that it is to have."""
    if job.runner == discover.AIS_BENCH:
        found = tools.python_with_ais_bench()
        if found is None:
            raise PipelineError(
                "no Python here can import ais_bench", "install the wheels ais_bench and aclruntime"
            )
        return [found[0], *job.words[1:]], found[1]
    if not os.access(job.words[0], os.X_OK):
        raise PipelineError(
            f"{job.words[0]} is missing or not executable", "put it there; chmod +x"
        )
    # A tool of that name may be a link to the project's own runner, which needs its own Python.
    ours = Path(job.words[0]).resolve() == identity.PROJECT / "benchmark.py"
    return list(job.words), tools.own_environment() if ours else tools.environment()


def _clear(job: Measurement) -> None:
    """Remove earlier results of this device, as the published drivers do, and these figures."""
    places.make_folder(job.dumps.parent)
    if job.dumps.is_symlink() or (job.dumps.exists() and not job.dumps.is_dir()):
        raise PipelineError(f"{job.dumps} is no folder", "move it")
    if job.dumps.is_dir():
        shutil.rmtree(job.dumps)
    for path in (job.speed, _summary(job)):
        path.unlink(missing_ok=True)
        record.path_of(path).unlink(missing_ok=True)
    # Made here, so that its record says `running` before the first result goes in.
    job.dumps.mkdir(mode=_CLOSED if job.runner == discover.AIS_BENCH else 0o777)


def _check_whole(job: Measurement, stems: set[str]) -> int:
    """Return how many outputs each sample has; PipelineError where not all results are there."""
    found: Counter[str] = Counter()
    with os.scandir(job.dumps) as entries:
        for entry in entries:
            parts = dump.split_name(entry.name)
            if parts is not None and parts[0] in stems and entry.stat().st_size:
                found[parts[0]] += 1
    if missing := stems - found.keys():
        raise PipelineError(
            f"{_name(job)} ended with exit code 0 and {job.dumps} holds the results of "
            f"{len(found)} of {len(stems)} images: {min(missing)} is missing",
            _AGAIN,
        )
    fewest, most = min(found.values()), max(found.values())
    if fewest != most:
        short = min(stem for stem, count in found.items() if count == fewest)
        raise PipelineError(
            f"{job.dumps} holds {fewest} outputs of {short} and {most} of others", _AGAIN
        )
    return most


def _summary(job: Measurement) -> Path:
    return job.dumps.with_name(f"{job.dumps.name}_summary.json")


def _keep_figures(job: Measurement) -> None:
    """Check the figures that the tool has left; write those of ais_bench where they stay."""
    if job.runner == discover.AIS_BENCH:
        inside = [job.dumps / "sumary.json", job.dumps / "summary.json"]
        written = next((p for p in (_summary(job), *inside) if p.is_file()), None)
        figures = _read_summary(job, written)
        atomic.write_text(job.speed, json.dumps(figures, indent=1) + "\n")
        return
    try:
        perf.from_text(job.speed.read_bytes().decode("ascii", "backslashreplace"))
    except FileNotFoundError:
        raise PipelineError(f"{_name(job)} has left no {job.speed}", _AGAIN) from None
    except ValueError as error:
        raise PipelineError(f"{job.speed}: {error}", _AGAIN) from None


def _read_summary(job: Measurement, path: Path | None) -> record.Json:
    """Return the figures of a summary of ais_bench, without its list of files."""
    if path is None:
        raise PipelineError(f"ais_bench has left no {_summary(job)}", _AGAIN)
    try:
        content = json.loads(path.read_text())
        rate = float(content["throughput"])
    except (ValueError, KeyError, TypeError):
        raise PipelineError(f"{path} is no summary of ais_bench", _AGAIN) from None
    keys = ("NPU_compute_time", "H2D_latency", "D2H_latency")
    return {
        "throughput": rate,
        "batchsize": job.batch,
        **{k: content[k] for k in keys if k in content},
    }
