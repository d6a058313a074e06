"""Several chips of a card at work together: what each has done, and what they make of it as a card.

The chips share what is read and written, so of those modules each chip has its samples' part of the
one rate. The Interface rate of a card is the sum of its chips' (documented: the guide multiplies
the rate of one chip by four).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.engines import Session
from pipeline.formats.perf import DatasetPerf
from pipeline.runner import timing
from pipeline.runner.timing import Measured, Span


@dataclass(frozen=True)
class Chip:
    """What one device has done of a run."""

    device: int
    samples: int
    perf: DatasetPerf

    def describe(self) -> str:
        """Return it in one line."""
        rate, whole = self.perf.interface_rate, self.perf.e2e_rate
        return (
            f"device {self.device}: {self.samples} samples, Interface rate {rate:.6g}/s,"
            f" end to end {whole:.6g}/s"
        )


def numbers(session: Session) -> tuple[int, ...]:
    """Return the devices of a session; none where it runs on the processor."""
    found: tuple[int, ...] = getattr(session, "devices", ())
    return found


def helpers_s(session: Session) -> float:
    """Return the processor time so far of the processes that a session has for its devices."""
    own = getattr(session, "cpu_s", None)
    return float(own()) if own else 0.0


def chips(measured: Measured, session: Session) -> list[Chip]:
    """Return what each device has done; a device that was given no batch is left out."""
    devices = numbers(session)
    found = []
    for place, device in enumerate(devices):
        own = [n for n, call in enumerate(measured.ran) if call.request % len(devices) == place]
        if own:
            share = _share(measured, own)
            found.append(Chip(device, share.samples, timing.dataset_perf(share)))
    return found


def card_perf(measured: Measured, of_chips: Sequence[Chip]) -> DatasetPerf:
    """Return the figures of a run; with chips, the Interface rate is the sum of theirs."""
    whole = timing.dataset_perf(measured)
    if not of_chips:
        return whole
    return dataclasses.replace(whole, interface_rate=sum(c.perf.interface_rate for c in of_chips))


def _share(measured: Measured, own: Sequence[int]) -> Measured:
    """Return the part of a run that the batches `own` are, all of one device."""
    calls = [measured.ran[n] for n in own]
    infer = Span()
    for call in sorted(calls, key=lambda one: one.start):
        infer.add(call.start, call.end)
    return dataclasses.replace(
        measured,
        samples=sum(call.samples for call in calls),
        infer=infer,
        executes=[measured.executes[n] for n in own],
        calls_ns=[measured.calls_ns[n] for n in own],
        ran=calls,
    )
