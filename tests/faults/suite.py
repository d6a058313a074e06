"""The faults, how often each is tried, and the command line: `python3 -m tests.faults`."""

from __future__ import annotations

import argparse
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

from cli import door
from tests.faults import (
    child,
    disks,
    kills,
    labour,
    layered,
    missing,
    pictures,
    stages,
    twice,
)
from tests.faults.field import Field
from tests.faults.ground import Ground, Stage
from tests.faults.tally import Tally

HELP = """Inject every fault into real runs of the stages, and count what was lost, wrong or hung.

  python3 -m tests.faults --kills 200

Each try runs a stage's own command, lets something go wrong, runs the same command again, and
compares every file of the result with an undisturbed run. The exit code is 1 where anything was
lost (a file or an item that was done), wrong (another content, a file left behind, no clear line)
or hung (had to be killed). The draw is that of --seed, the moments are the machine's.

From 100 kills on, the bundled sample, the export of VoVNet-39 and a run from the checkpoint on take
part. What needs a mount (small disks) is left out where this system lets nobody mount, and said so.
"""
WHOLE_FROM = 100  # kills, from which on the costly stages take part
MOUNTED = ("full-disk", "read-only-disk")
# Each fault with the share of its tries in the number of kills.
FAULTS: dict[str, tuple[Callable[[Field], None], float]] = {
    "kill": (kills.kill, 1.0),
    "ctrl-c": (kills.ctrl_c, 0.2),
    "power-cut": (layered.power_cut, 0.12),
    "full-disk": (disks.full_disk, 0.16),
    "file-limit": (disks.file_limit, 0.08),
    "read-only-disk": (disks.read_only_disk, 0.04),
    "forbidden-folder": (disks.forbidden_folder, 0.04),
    "unreadable-input": (disks.unreadable_input, 0.04),
    "vanished": (missing.vanished, 0.12),
    "cut": (missing.cut, 0.12),
    "output-removed": (missing.removed, 0.06),
    "worker-killed": (labour.killed, 0.06),
    "worker-stopped": (labour.stopped, 0.03),
    "crowded": (labour.crowded, 0.04),
    "bounded": (labour.bounded, 0.12),
    "clock": (layered.clock, 0.06),
    "times": (layered.times, 0.06),
    "failing": (layered.failing, 0.25),
    "twice": (twice.twice, 0.12),
    "pictures": (pictures.mutated, 0.0),
}


def build_parser() -> argparse.ArgumentParser:
    """Return the command line of the suite."""
    parser = argparse.ArgumentParser(
        prog="python3 -m tests.faults",
        description=HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--kills", type=int, default=20, metavar="N", help="kills (default: 20)")
    parser.add_argument("--images", type=int, default=48, metavar="N", help="images (default: 48)")
    parser.add_argument(
        "--mutations", type=int, metavar="N", help="mutated images (default: ten for each kill)"
    )
    parser.add_argument("--seed", type=int, metavar="S", help="(default: another one each time)")
    parser.add_argument(
        "--only",
        nargs="+",
        type=door.choice(*FAULTS),
        metavar="FAULT",
        help=f"{', '.join(FAULTS)} (default: all)",
    )
    parser.add_argument(
        "--stages",
        nargs="+",
        type=door.choice(*(stage.name for stage in stages.ALL)),
        metavar="NAME",
        help=f"of {', '.join(stage.name for stage in stages.ALL)} (default: all)",
    )
    parser.add_argument(
        "--work-dir", type=Path, metavar="D", help="for all that is made (default: temporary)"
    )
    return parser


def main(cannot_mount: str, argv: Sequence[str] | None = None) -> int:
    """Run the suite; return the exit code. `cannot_mount`: why nothing can be mounted, or ""."""
    args = build_parser().parse_args(argv)
    seed = args.seed if args.seed is not None else Random().randrange(1 << 32)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # also in a job in the background
    if args.work_dir:
        args.work_dir.mkdir(parents=True, exist_ok=True)
    root = Path(tempfile.mkdtemp(prefix="faults of runs ", dir=args.work_dir)).resolve()
    say(f"seed {seed}, {args.images} images, in {root}")
    started = time.monotonic()
    tally = Tally()
    interrupted = False
    try:
        _try_all(args, seed, Ground(root), tally, cannot_mount)
    except KeyboardInterrupt:
        interrupted = True
    finally:
        child.end_all()
        say("")
        for line in tally.table():
            say(line)
        if tally.good or interrupted:
            shutil.rmtree(root, ignore_errors=True)
        else:
            say(f"kept: {root}")
    minutes = (time.monotonic() - started) / 60
    tried = sum(row.tried for row in tally.rows.values())
    word = "INTERRUPTED" if interrupted else "OK" if tally.good else "FAILED"
    say(f"{word}: {tried} tries in {minutes:.1f} min, seed {seed}, {len(tally.problems)} problems")
    return 130 if interrupted else 0 if tally.good else 1


def _try_all(
    args: argparse.Namespace, seed: int, ground: Ground, tally: Tally, cannot_mount: str
) -> None:
    whole = args.kills >= WHOLE_FROM
    whole = whole or any(s.costly and s.name in (args.stages or ()) for s in stages.ALL)
    chosen: tuple[Stage, ...] = stages.ALL if whole else stages.QUICK
    chosen = tuple(s for s in chosen if not args.stages or s.name in args.stages)
    mutations = 10 * args.kills if args.mutations is None else args.mutations
    stages.make_given(ground, args.images, whole)
    for name, (fault, share) in FAULTS.items():
        if args.only and name not in args.only:
            continue
        if name in MOUNTED and cannot_mount:
            tally.leave_out(name, cannot_mount)
            continue
        tries = max(1, round(args.kills * share))
        say(f"{name}: {tries} tries")
        for number in range(tries):
            draw = Random(f"{seed} {name} {number}")
            known = len(tally.problems)
            fault(Field(ground, tally, chosen, number, draw, mutations))
            for problem in tally.problems[known:]:
                say(problem)
            if (number + 1) % 20 == 0:
                say(f"{name}: {number + 1} of {tries}, {len(tally.problems)} problems so far")


def say(text: str) -> None:
    """Print a line at once."""
    print(text, flush=True)
