"""A run over a data set: info file and model in, dumps and perf file out.

A run that was cut short, in whatever way, leaves its ledger beside the dump folder, and the same
run goes on from there (`pipeline.runner.resume`). One that was complete is measured anew.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline import (
    atomic,
    chain,
    engines,
    identity,
    ledger,
    lock,
    machine,
    places,
    progress,
    quotable,
    record,
)
from pipeline.engines import DeviceLost, Settings, model_file
from pipeline.errors import PipelineError
from pipeline.formats import perf
from pipeline.ledger import Ledger
from pipeline.quotable import Conditions, Verdict
from pipeline.runner import (
    devices,
    inputs,
    loading,
    resume,
    selfcheck,
    sinks,
    telling,
    timing,
    waiting,
)
from pipeline.runner.conditions import Watch
from pipeline.runner.flow import Flow, Source
from pipeline.runner.loading import Loaded
from pipeline.runner.sources import ImageFiles, TensorFiles
from pipeline.runner.timing import Measured

FORMS = ("text", "binary", "npy")
PACKAGES = ("numpy", "onnxruntime", "openvino", "orjson", "Pillow")


@dataclass(frozen=True)
class Job:
    """What a data-set run is asked for; `form` is one of `FORMS`.

    Several `devices` share the work, and `device` is the first of them.
    """

    model: Path
    info: Path
    batch_size: int
    device: int = 0
    devices: tuple[int, ...] = ()
    model_type: str = "vision"
    width: int | None = None
    height: int | None = None
    images: bool = False
    form: str = "text"
    engine: str = engines.AUTO
    precision: str = "fp32"
    threads: int | None = None
    warmup: int = 2
    force: bool = False  # do not go on where an earlier run was cut short
    results: Path = Path("result")

    @property
    def dump_folder(self) -> Path:
        """Where the dumps go."""
        return self.results / f"dumpOutput_device{self.device}"

    @property
    def perf_file(self) -> Path:
        """Where the figures go, of all devices together."""
        if len(self.devices) > 1:
            name = perf.card_perf_name(self.model_type, self.batch_size, self.devices)
            return self.results / name
        return self.chip_file(self.device)

    @property
    def perf_files(self) -> list[Path]:
        """Where all figures go: those of the run, then those of each of several devices."""
        several = self.devices if len(self.devices) > 1 else ()
        return [self.perf_file, *map(self.chip_file, several)]

    def chip_file(self, device: int) -> Path:
        """Return where the figures of one device go."""
        return self.results / perf.perf_name(self.model_type, self.batch_size, device)


@dataclass(frozen=True)
class Outcome:
    """What a data-set run gave; `kept` of its `samples` are those of an interrupted run."""

    perf: perf.DatasetPerf
    measured: Measured
    loaded: Loaded
    doubts: Sequence[str]  # why the inputs are unverified; empty where they are not
    samples: int
    kept: int
    verdict: Verdict  # on the figures
    chips: Sequence[devices.Chip]  # of several devices, what each has done

    def tally(self) -> str:
        """Return how many samples there are and, where it is not all, how many were timed."""
        return telling.tally(self.samples, self.kept)


@progress.steps("look at the inputs", "load the model", "run the samples", "check the figures")
def run(job: Job) -> Outcome:
    """Check everything, load and warm up the model, then run, time and write.

    Nothing of an earlier run is touched before all inputs have been checked and the model has
    answered once. Raises PipelineError for whatever is wrong with info file, samples or model.
    """
    for file in job.perf_files:
        places.check_file(file, [job.model, job.info], make_parent=True)
    given = inputs.read(job.info, job.images, job.dump_folder)
    settings = Settings(
        job.batch_size, job.threads, job.precision, devices=job.devices or (job.device,)
    )
    progress.next_step()
    loaded = loading.load(job.engine, job.model, settings, job.warmup)
    session = loaded.session
    model = session.inputs[0]
    inputs.check_size(model, job.width, job.height)
    if job.images:
        inputs.check_images(model)
    else:
        inputs.check_tensors(given, model)
    links = chain.facts(chain.file(job.model), inputs.check_records(given, model))
    names = [info.name for info in session.outputs]
    sinks.check_outputs(loaded.outputs, names, job.batch_size)
    places.make_folder(job.dump_folder)
    anew = job.force or _is_complete(job.dump_folder)
    made = _begin(job, given, loaded)
    with record.keeping(made):
        made.details |= {
            **loaded.details(),
            "listing_sha256": given.listing_sha256,
            "chain": links,
            "inputs_verified": links["verified"],
            "outputs": {n: list(o.shape) for n, o in zip(names, loaded.outputs, strict=True)},
            "output_dtypes": [output.dtype.name for output in loaded.outputs],
        }
        for file in job.perf_files:
            file.unlink(missing_ok=True)
            record.path_of(file).unlink(missing_ok=True)
        if anew:
            ledger.remove(job.dump_folder)
        with Ledger(job.dump_folder, _session(job, given, loaded, made)) as book:
            progress.next_step()
            measured, plan, conditions = _flow(job, given, loaded, book, made)
            book.sync()
        chips = devices.chips(measured, session) if len(job.devices) > 1 else []
        figures = devices.card_perf(measured, chips)
        atomic.write_text(job.perf_file, perf.to_text(figures))
        for chip in chips:
            atomic.write_text(job.chip_file(chip.device), perf.to_text(chip.perf))
        progress.next_step()
        verdict = _judge(job, given, loaded, measured, plan, conditions)
        made.details["quotable"] = verdict.to_json()
        made.outputs = [job.dump_folder, *filter(Path.exists, job.perf_files)]
        made.details["chips"] = [dataclasses.asdict(chip) for chip in chips]
        _finish(made, measured, len(names), figures)
    # The next batch size on this device replaces the dumps and their record, not these figures.
    for file in made.outputs[1:]:
        record.copy(job.dump_folder, file)
    # Not before the record says complete: a run killed in between would have to begin anew.
    with contextlib.suppress(PipelineError), lock.holding(job.dump_folder):
        ledger.remove(job.dump_folder)
    doubts, total = links["doubts"], len(given.paths)
    return Outcome(figures, measured, loaded, doubts, total, plan.kept, verdict, chips)


def _is_complete(folder: Path) -> bool:
    try:
        made = record.load(folder)
    except PipelineError:  # it is about to be replaced
        return False
    return made is not None and made["status"] == "complete"


def _begin(job: Job, given: inputs.Inputs, loaded: Loaded) -> record.Run:
    total = len(given.paths)
    return record.Run(
        stage="benchmark",
        inputs=[*loaded.model.files, job.info, *given.recorded_folders(job.dump_folder)],
        outputs=[job.dump_folder, *job.perf_files],
        settings={
            "mode": "dataset",
            "model_type": job.model_type,
            "batch_size": job.batch_size,
            "device": job.device,
            "devices": list(job.devices),
            "images": job.images,
            "form": job.form,
            "engine": job.engine,
            "precision": job.precision,
            "threads": job.threads,
            "warmup": job.warmup,
        },
        packages=PACKAGES,
        counts={"samples": total, "dumped": 0, "not_done": total, "kept": 0, "timed": 0},
    )


def _session(job: Job, given: inputs.Inputs, loaded: Loaded, made: record.Run) -> record.Json:
    """Return all that the bytes of the results depend on."""
    session = loaded.session
    rows = [sinks.row_of(output, 0, job.batch_size) for output in loaded.outputs]
    return {
        "model": loaded.model.content or model_file.content_of(loaded.model),
        "listing_sha256": given.listing_sha256,
        "batch_size": job.batch_size,
        "form": job.form,
        "images": job.images,
        "size": [job.width, job.height],
        "engine": [session.engine, session.version, session.precision],
        # On a card nothing depends on how many chips share the work, so that others may go on.
        "threads": None if devices.numbers(session) else [session.threads, session.requests],
        "processor": machine.processor(),
        "dtypes": [row.dtype.str for row in rows],
        "shapes": [list(row.shape) for row in rows] if job.form == "npy" else None,
        "code_sha256": identity.code_digest(),
        "versions": made.identified()["versions"],
    }


def _flow(
    job: Job, given: inputs.Inputs, loaded: Loaded, book: Ledger, made: record.Run
) -> tuple[Measured, resume.Plan, Conditions]:
    """Run what is left to run; return what was measured, of which batches, and meanwhile."""
    total, counts = len(given.paths), made.counts
    source = _source(job, given)
    with contextlib.ExitStack() as stack:
        results: resume.Results
        if job.form == "npy":
            arrays = sinks.ResultArrays(
                job.dump_folder, given.stems, loaded.outputs, job.batch_size
            )
            results = stack.enter_context(arrays)
        else:
            results = sinks.DumpFiles(job.dump_folder, given.stems, job.form == "binary")
        plan = resume.plan(book.done, results, total, job.batch_size)
        if plan.kept:
            progress.note(f"{plan.kept} of {total} samples are kept from an interrupted run")
        made.details["resumed"] = bool(plan.kept)
        sink = stack.enter_context(resume.Booked(results, book, job.batch_size))
        left = total - plan.kept
        expected_s = loaded.expected_s(len(plan.batches))
        progress.detail(f"{left} samples, timed: about {expected_s:.1f} s by the first inference")
        timed = progress.track_timed("benchmark", left, "samples", expected_s)
        shown = stack.enter_context(timed)
        flow = Flow(loaded.session, source, sink, job.batch_size, plan.batches)
        try:
            watch = Watch(helpers_s=functools.partial(devices.helpers_s, loaded.session))
            measured = flow.run(shown)
            return measured, plan, watch.conditions()
        except (PipelineError, OSError, KeyboardInterrupt) as error:
            if isinstance(error, DeviceLost):
                made.details["missing"] = telling.stems_of(
                    flow.missing(), given.stems, job.batch_size
                )
            raise telling.with_count(
                error, job.dump_folder, plan.kept + flow.written, total
            ) from error
        finally:
            counts |= {"dumped": plan.kept + flow.written, "not_done": left - flow.written}
            counts |= {"kept": plan.kept, "timed": flow.written}


def _source(job: Job, given: inputs.Inputs) -> Source:
    return ImageFiles(given.paths) if job.images else TensorFiles(given.paths)


def _judge(
    job: Job,
    given: inputs.Inputs,
    loaded: Loaded,
    measured: Measured,
    plan: resume.Plan,
    conditions: Conditions,
) -> Verdict:
    """Check the run by itself, and say whether its figures may be quoted."""
    session = loaded.session
    timed = timing.dataset_timed(measured, session.requests, job.warmup, len(given.paths))
    dtypes = [output.dtype for output in loaded.outputs]
    again = selfcheck.Rerun(
        _source(job, given),
        [number * job.batch_size for number in plan.batches],
        lambda: selfcheck.dumps_of(job.dump_folder, job.form, given.stems, dtypes),
    )
    promising = not quotable.judge(timed, conditions).reasons
    checks = waiting.call(
        lambda: selfcheck.after_dataset(session, job.batch_size, again, timed, promising),
        session.cancel,
    )
    return quotable.judge(timed, conditions, checks)


def _finish(made: record.Run, measured: Measured, outputs: int, figures: perf.DatasetPerf) -> None:
    counts = made.counts
    counts["outputs_per_sample"] = outputs
    counts["batches"] = -(-counts["samples"] // measured.batch_size)
    made.timings_s = {
        "end_to_end": round(measured.end_to_end_ns / 1e9, 6),
        **{f"busy_{module}": busy for module, busy in measured.busy_s().items()},
    }
    made.details["perf"] = {key: round(value, 6) for key, value in vars(figures).items()}
    made.details["latencies_us"] = [ns // 1000 for ns in measured.calls_ns]
    made.verdict = f"{telling.tally(counts['samples'], counts['kept'])}, {figures.e2e_rate:.6g}/s"
