"""A run over a data set: info file and model in, dumps and perf file out."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

from pipeline import atomic, engines, places, progress, record
from pipeline.engines import Settings
from pipeline.formats import perf
from pipeline.runner import inputs, loading, sinks
from pipeline.runner.flow import Flow, Sink, Source
from pipeline.runner.loading import Loaded
from pipeline.runner.sources import ImageFiles, TensorFiles
from pipeline.runner.timing import Measured, dataset_perf

FORMS = ("text", "binary", "npy")
PACKAGES = ("numpy", "onnxruntime", "openvino", "orjson", "Pillow")


@dataclass(frozen=True)
class Job:
    """What a data-set run is asked for; `form` is one of `FORMS`."""

    model: Path
    info: Path
    batch_size: int
    device: int = 0
    model_type: str = "vision"
    width: int | None = None
    height: int | None = None
    images: bool = False
    form: str = "text"
    engine: str = engines.AUTO
    precision: str = "fp32"
    threads: int | None = None
    warmup: int = 2
    results: Path = Path("result")

    @property
    def dump_folder(self) -> Path:
        """Where the dumps go."""
        return self.results / f"dumpOutput_device{self.device}"

    @property
    def perf_file(self) -> Path:
        """Where the figures go."""
        return self.results / perf.perf_name(self.model_type, self.batch_size, self.device)


@dataclass(frozen=True)
class Outcome:
    """What a data-set run gave."""

    perf: perf.DatasetPerf
    measured: Measured
    loaded: Loaded
    verified: bool | None  # None: images have no record


def run(job: Job) -> Outcome:
    """Check everything, load and warm up the model, then run, time and write.

    Nothing of an earlier run is touched before all inputs have been checked and the model has
    answered once. Raises PipelineError for whatever is wrong with info file, samples or model.
    """
    places.check_file(job.perf_file, [job.model, job.info], make_parent=True)
    given = inputs.read(job.info, job.images, job.dump_folder)
    settings = Settings(job.batch_size, job.threads, job.precision)
    loaded = loading.load(job.engine, job.model, settings, job.warmup)
    session = loaded.session
    model = session.inputs[0]
    inputs.check_size(model, job.width, job.height)
    if job.images:
        inputs.check_images(model)
        verified = None
    else:
        inputs.check_tensors(given, model)
        verified = inputs.check_records(given, model)
    names = [info.name for info in session.outputs]
    sinks.check_outputs(loaded.outputs, names, job.batch_size)
    places.make_folder(job.dump_folder)
    made = _begin(job, given, loaded)
    with record.keeping(made):
        made.details |= {
            **loaded.details(),
            "listing_sha256": given.listing_sha256,
            "inputs_verified": verified,
            "outputs": {n: list(o.shape) for n, o in zip(names, loaded.outputs, strict=True)},
            "output_dtypes": [output.dtype.name for output in loaded.outputs],
        }
        sinks.remove_results(job.dump_folder)
        job.perf_file.unlink(missing_ok=True)
        record.path_of(job.perf_file).unlink(missing_ok=True)
        measured = _flow(job, given, loaded, made.counts)
        figures = dataset_perf(measured)
        atomic.write_text(job.perf_file, perf.to_text(figures))
        _finish(made, measured, len(names), figures)
    # The next batch size on this device replaces the dumps and their record, not these figures.
    record.copy(job.dump_folder, job.perf_file)
    return Outcome(figures, measured, loaded, verified)


def _begin(job: Job, given: inputs.Inputs, loaded: Loaded) -> record.Run:
    return record.Run(
        stage="benchmark",
        inputs=[*loaded.model.files, job.info, *given.recorded_folders(job.dump_folder)],
        outputs=[job.dump_folder, job.perf_file],
        settings={
            "mode": "dataset",
            "model_type": job.model_type,
            "batch_size": job.batch_size,
            "device": job.device,
            "images": job.images,
            "form": job.form,
            "engine": job.engine,
            "precision": job.precision,
            "threads": job.threads,
            "warmup": job.warmup,
        },
        packages=PACKAGES,
        counts={"samples": len(given.paths), "dumped": 0},
    )


def _flow(job: Job, given: inputs.Inputs, loaded: Loaded, counts: record.Json) -> Measured:
    source: Source = ImageFiles(given.paths) if job.images else TensorFiles(given.paths)
    with contextlib.ExitStack() as stack:
        sink: Sink
        if job.form == "npy":
            arrays = sinks.ResultArrays(
                job.dump_folder, given.stems, loaded.outputs, job.batch_size
            )
            sink = stack.enter_context(arrays)
        else:
            sink = sinks.DumpFiles(job.dump_folder, given.stems, job.form == "binary")
        total = len(given.paths)
        shown = stack.enter_context(progress.track("benchmark", total, "samples"))
        flow = Flow(loaded.session, source, sink, job.batch_size)
        try:
            return flow.run(shown)
        finally:
            counts["dumped"] = flow.written


def _finish(made: record.Run, measured: Measured, outputs: int, figures: perf.DatasetPerf) -> None:
    made.counts["outputs_per_sample"] = outputs
    made.counts["batches"] = len(measured.calls_ns)
    made.timings_s = {
        "end_to_end": round(measured.end_to_end_ns / 1e9, 6),
        **{f"busy_{module}": busy for module, busy in measured.busy_s().items()},
    }
    made.details["perf"] = {key: round(value, 6) for key, value in vars(figures).items()}
    made.details["latencies_us"] = [ns // 1000 for ns in measured.calls_ns]
    made.verdict = f"{measured.samples} of {measured.samples} samples, {figures.e2e_rate:.6g}/s"
