"""The table at the end of a run on a card: accuracy, rates, published figures, PASS or FAIL."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from models_vovnet.published import WEIGHTS_MD5
from pipeline import chain, identity, published, record, table
from pipeline.ascend import commands, npu_smi, rules
from pipeline.errors import PipelineError, one_line
from pipeline.formats import perf, result
from pipeline.published import Speed

MISSING = "-"
OURS = ("batch", "images", "Top1", "Top5", "rate per chip", "card rate", "end to end", "devices")
BESIDE = (
    *("batch", "card rate here", "310 (MZ-old x 4)", "310 (MZ-new)", "310P (MZ-310P)"),
    *("310P (MZ-new)", "T4 (MZ-new)", "310 chip (MZ-old)", "310 chip, end to end (MZ-old)"),
)
SOURCES = (
    "published (images/s): the VoVNet-39 guide of the Ascend ModelZoo; MZ-old: its state of "
    "2022-03, MZ-310P: of 2022-06, MZ-new: of 2023-12, whose 310 column is not that of MZ-old"
)


@dataclass(frozen=True)
class Row:
    """One batch size; rates in samples/s, None where they were not measured (yet)."""

    batch: int
    result_file: Path
    found: rules.Accuracy | None
    chip_rate: float | None  # of the model's execution alone
    e2e_rate: float | None  # of the whole run, on all devices that it used
    devices: int  # that it used
    chips: int  # on a card
    doubt: str = ""  # why the rates are left out

    @property
    def card_rate(self) -> float | None:
        """The rate of a card as the ModelZoo reckons it: one chip's times their number."""
        return None if self.chip_rate is None else self.chip_rate * self.chips


def read_row(result_file: Path, speed_file: Path, soc: str) -> Row:
    """Read the two files of one batch size, as far as they are there; PipelineError."""
    batch = commands.batch_of_speed_file(speed_file.name)
    if batch is None:
        raise PipelineError(
            f"{speed_file} is not named as a run's figures",
            "that is perf_vision_batchsize_<B>_device_<D>.txt or "
            "ais_bench_batchsize_<B>_device_<D>.json",
        )
    chip_rate, e2e_rate = _rates(speed_file)
    doubt = ""
    if _are_of_two_runs(result_file, speed_file):
        chip_rate = e2e_rate = None
        doubt = f"{speed_file} is of another run than {result_file}: score anew"
    name = perf.split_name(speed_file.name)
    devices = max(1, len(name.devices)) if name else 1
    if chip_rate is not None:
        chip_rate /= devices  # the file of several has their sum
    return Row(
        batch=batch,
        result_file=result_file,
        found=read_accuracy(result_file, "om"),
        chip_rate=chip_rate,
        e2e_rate=e2e_rate,
        devices=devices,
        chips=npu_smi.chips_per_card(soc),
        doubt=doubt,
    )


def _are_of_two_runs(result_file: Path, speed_file: Path) -> bool:
    """Say whether the score was made from other dumps than the run of these figures has left."""
    scored = chain.field(record.load(result_file), str, "inputs", 0, "listing_sha256")
    left = chain.field(record.load(speed_file), str, "outputs", 0, "listing_sha256")
    return bool(scored and left) and scored != left


def read_accuracy(path: Path, of: str) -> rules.Accuracy | None:
    """Return what a result file says, None where there is none; PipelineError where it is none."""
    try:
        found = result.from_text(path.read_text(errors="replace"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise PipelineError(f"{path}: {error}", "score anew") from None
    top5 = found.percentages[min(4, len(found.percentages) - 1)]
    return rules.Accuracy(found.percentages[0], top5, found.images, of)


def _rates(path: Path) -> tuple[float | None, float | None]:
    try:
        text = path.read_bytes().decode("ascii", "backslashreplace")
        if path.suffix == ".json":
            # ais_bench measures no whole run that could be compared with the tool's.
            return float(json.loads(text)["throughput"]), None
        figures = perf.from_text(text)
    except FileNotFoundError:
        return None, None
    except (ValueError, KeyError, TypeError) as error:
        raise PipelineError(f"{path}: {error}", "measure anew") from None
    if not isinstance(figures, perf.DatasetPerf):
        raise PipelineError(f"{path} holds a pure inference run", "measure a data set")
    return figures.interface_rate, figures.e2e_rate


def reference(
    rows: Sequence[Row], checkpoint: Path | None, cpu: Path
) -> tuple[rules.Accuracy | None, str]:
    """Return what the accuracy is compared with, or None and why there is nothing.

    The published checkpoint on all of the validation set is compared with the source network's
    published accuracy; anything else with `cpu`, the score of the same ONNX in float32 on the
    processor, where that is of the same images.
    """
    images = {row.found.images for row in rows if row.found}
    is_published = (
        checkpoint is not None
        and checkpoint.is_file()
        and identity.file_digest(checkpoint, "md5") == WEIGHTS_MD5
    )
    if is_published and images == {published.VALIDATION_IMAGES}:
        return rules.SOURCE, ""
    whose = "not all of the validation set" if is_published else "not the published checkpoint"
    found = read_accuracy(cpu, "this ONNX in float32 on the processor")
    if found is None:
        return None, f"{whose}, and no {cpu} (--only reference makes it)"
    if images != {found.images} or not _same_origin(rows, cpu):
        return None, f"{whose}, and {cpu} is of other images, labels or another ONNX"
    return found, ""


def _same_origin(rows: Sequence[Row], cpu: Path) -> bool:
    """Say whether scores on card and processor rest on one ONNX and one label file."""
    here = _origin(record.load(cpu))
    return here is not None and all(
        _origin(record.load(row.result_file)) == here for row in rows if row.found
    )


def _origin(scored: record.Json | None) -> tuple[str, str] | None:
    """Return the digests of ONNX and labels of a score; that of an om names its ONNX."""
    labels = chain.field(scored, str, "inputs", 1, "sha256")
    model = chain.field(scored, dict, "details", "chain", "model") or {}
    onnx = (
        chain.field(model, str, "made_of", 0, "sha256")
        if chain.field(model, str, "stage") == "atc"
        else chain.field(model, str, "sha256")
    )
    return (onnx, labels) if onnx and labels else None


def show(
    rows: Sequence[Row], soc: str, found: rules.Accuracy | None, why: str
) -> list[rules.Ruling]:
    """Print the tables to stdout; return the rulings that they end with."""
    table.show(OURS, [_ours(row) for row in rows])
    chips = npu_smi.chips_per_card(soc)
    kind = "four chips on a card" if chips > 1 else "one chip"
    _say(
        "",
        f"rates in images/s; card rate = rate per chip x {chips} ({soc}: {kind}); end to end: with "
        "reading and writing, on the devices used",
        *(row.doubt for row in rows if row.doubt),
        "",
    )
    table.show(BESIDE, [_beside(row) for row in rows])
    _say("", SOURCES, "")
    rulings = [rules.accuracy(row.batch, row.found, found, why) for row in rows]
    rulings += rules.speed(soc, {r.batch: r.card_rate for r in rows if r.card_rate is not None})
    table.show(
        ("verdict", "rule", "numbers"), [(r.verdict, r.rule, r.numbers) for r in rulings], "numbers"
    )
    return rulings


def _ours(row: Row) -> tuple[str, ...]:
    found = row.found
    return (
        str(row.batch),
        str(found.images) if found else MISSING,
        f"{found.top1:.2f} %" if found else MISSING,
        f"{found.top5:.2f} %" if found else MISSING,
        *map(_number, (row.chip_rate, row.card_rate, row.e2e_rate)),
        str(row.devices) if row.chip_rate is not None else MISSING,
    )


def _beside(row: Row) -> tuple[str, ...]:
    empty = (None,) * 7
    one: Speed | None = next((s for s in published.SPEEDS if s.batch_size == row.batch), None)
    figures: tuple[float | None, ...] = empty
    if one is not None:
        figures = (
            *(one.card_310_old, one.card_310, one.chip_310p, one.card_310p, one.card_t4),
            *(one.chip_310, one.e2e_310),
        )
    return (str(row.batch), _number(row.card_rate), *map(_number, figures))


def _number(value: float | None) -> str:
    return MISSING if value is None else f"{value:.7g}"


def _say(*lines: str) -> None:
    sys.stdout.write("".join(f"{one_line(line)}\n" for line in lines))
