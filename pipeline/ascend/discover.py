"""What is there of a card and its software, and what of it a run will use."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipeline import identity
from pipeline.ascend import npu_smi, remedies, tools

TOOL, AIS_BENCH, OWN = "tool", "ais_bench", "own"
RUNNERS = (TOOL, AIS_BENCH, OWN)
GUIDES_SOC = "Ascend310"
_SOC = re.compile(r"Ascend[0-9][0-9A-Za-z_]*")
_HOMES = (
    Path("/usr/local/Ascend/ascend-toolkit/latest"),
    Path("~/Ascend/ascend-toolkit/latest"),
)
# assumed: where the driver puts it, which is not on everybody's PATH
_SMI = (Path("/usr/local/sbin/npu-smi"), Path("/usr/local/bin/npu-smi"))
# assumed: where a CANN keeps its version, besides the name of the folder itself
_VERSION_FILES = ("version.cfg", "version.info", "atc/version.info", "compiler/version.info")


@dataclass(frozen=True)
class Wanted:
    """What a run asks for; `soc` and `runner` are empty where it is left to be found."""

    soc: str
    runner: str
    convert: bool  # to om
    measure: bool  # on the card
    folders: Sequence[Path]  # in which the benchmark tool may lie, before PATH
    shown_only: bool = False  # nothing will be run, so env.sh may not have been read


@dataclass
class Found:
    """What is there, as `lines` for the reader, and what is `missing`, one line each."""

    soc: str = ""
    runner: str = ""
    tool: Path | None = None
    devices: tuple[int, ...] = ()
    lines: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)


def tool_name() -> str:
    """Return the name of Huawei's benchmark tool on this processor."""
    return f"benchmark.{platform.machine()}"


def find(wanted: Wanted) -> Found:
    """Look for everything; what the run needs and is not there stands in `missing`."""
    found = Found()
    _find_atc(wanted, found)
    _find_card(wanted, found)
    _find_runner(wanted, found)
    return found


def _find_atc(wanted: Wanted, found: Found) -> None:
    home = cann_home()
    atc = tools.which("atc") or _not_on_path(home, wanted)
    found.lines.append(f"CANN       {home} ({cann_version(home)})" if home else "CANN       none")
    found.lines.append(f"atc        {atc or 'none'}")
    if atc is None and wanted.convert:
        where = f"{home} has none" if home else "there is no CANN in /usr/local/Ascend"
        found.missing.append(
            f"atc: {where} and none is on PATH; install CANN's toolkit, or say where it is with "
            "ASCEND_TOOLKIT_HOME"
        )


def _not_on_path(home: Path | None, wanted: Wanted) -> Path | None:
    """Return the atc that env.sh would put on PATH, where commands are only shown."""
    places = [home / f"{folder}bin/atc" for folder in ("atc/", "compiler/", "")] if home else []
    return next((p for p in places if p.is_file()), None) if wanted.shown_only else None


def cann_home() -> Path | None:
    """Return the folder of CANN's toolkit: as set_env.sh names it, or by the guide's layout."""
    named = (os.environ.get(name) for name in ("ASCEND_TOOLKIT_HOME", "ASCEND_HOME_PATH"))
    places = [Path(name) for name in named if name] or [home.expanduser() for home in _HOMES]
    return next((place for place in places if place.is_dir()), None)


def cann_version(home: Path) -> str:
    """Return the version of the CANN in `home`, as its files say it."""
    for name in _VERSION_FILES:
        try:
            text = (home / name).read_text(errors="replace")[:4096]
        except OSError:
            continue
        if match := re.search(r"[Vv]ersion[^=\n]*=\s*\[?([^\]\n]*?([0-9][\w.]*))", text):
            return f"version {match[2]}"
    match = re.search(r"[0-9]+(\.[0-9A-Za-z]+)+", home.resolve().name)
    return f"version {match[0]}" if match else "version unknown"


def npu_smi_program() -> Path | None:
    """Return npu-smi, from PATH or from where the driver puts it, or None."""
    return tools.which("npu-smi") or next((place for place in _SMI if place.is_file()), None)


def _find_card(wanted: Wanted, found: Found) -> None:
    smi = npu_smi_program()
    answer = tools.ask([str(smi), "info"]) if smi else None
    card = npu_smi.read(answer.text) if answer else npu_smi.Card((), ())
    chips = card.chips
    if wanted.soc:
        found.soc = wanted.soc
        chips = tuple(c for c in chips if npu_smi.soc_version(c.name) == wanted.soc)
    elif len(card.names) == 1:
        found.soc = npu_smi.soc_version(card.names[0])
    found.devices = tuple(chip.device for chip in chips)
    if chips:
        numbers = " ".join(map(str, found.devices))
        found.lines.append(f"card       {chips[0].name}: devices {numbers}")
        found.lines += [f"           device {c.device}: {c.health}" for c in chips if _ails(c)]
        if card.processes:
            found.lines.append(
                f"           in use by {len(card.processes)} processes ({card.processes[0]}):"
                " rates are not to be trusted"
            )
    else:
        said = "none" if smi is None else "npu-smi lists no such chip"
        found.lines.append(f"card       {said}")
    if wanted.soc and not _SOC.fullmatch(wanted.soc):
        found.missing.append(f"--soc-version: {wanted.soc} is no name such as Ascend310P3")
    elif not chips:
        _say_what_is_missing(wanted, found, card, answer)
    if not found.devices:
        found.devices = tuple(range(npu_smi.chips_per_card(found.soc or GUIDES_SOC)))


def _ails(chip: npu_smi.Chip) -> bool:
    return chip.health not in ("OK", "")


def _say_what_is_missing(
    wanted: Wanted, found: Found, card: npu_smi.Card, answer: tools.Ended | None
) -> None:
    """Add what is missing of a card; a conversion alone needs none, if it knows for which."""
    if wanted.soc and card.names:
        if wanted.measure:
            there = ", ".join(card.names)
            found.missing.append(
                f"--soc-version: {wanted.soc} is asked for and the card here is {there}; an om "
                "runs only on the chip that it was converted for"
            )
    elif len(card.names) > 1:
        found.missing.append(
            f"--soc-version: there are chips of several kinds, {', '.join(card.names)}; say which"
        )
    elif answer is not None and answer.text.strip():
        first = answer.text.strip().splitlines()[0]
        remedy = remedies.find(answer.text) or "see `npu-smi info`"
        if wanted.measure or not wanted.soc:
            found.missing.append(f"card: npu-smi says {first!r}; {remedy}")
    elif not wanted.soc:
        found.missing.append(
            "npu-smi: there is none on PATH, so the chip is not known; install the driver, or "
            "name the chip with --soc-version=Ascend310 (a conversion needs no card)"
        )


def _find_runner(wanted: Wanted, found: Found) -> None:
    name = tool_name()
    found.tool, unfit = _find_tool(name, wanted.folders)
    ais = tools.python_with_ais_bench()
    found.lines.append(f"{name:<10} {found.tool or unfit or 'none'}")
    found.lines.append(f"ais_bench  {f'{ais[2]} in {ais[0]}' if ais else 'none'}")
    usable = {TOOL: found.tool is not None, AIS_BENCH: ais is not None}
    found.runner = wanted.runner or next((runner for runner in usable if usable[runner]), "")
    # The Python interface is all that our runner needs, in the project's own Python.
    usable[OWN] = found.runner == OWN and bool(tools.own_ais_bench())
    if wanted.measure and not usable.get(found.runner, False):
        lacks = {
            TOOL: f"{name}: {unfit or 'it is in none of the usual places'}; put it into the "
            "project's folder or the work folder",
            AIS_BENCH: "ais_bench: no Python here can import it; install the wheels ais_bench and "
            "aclruntime",
            OWN: "ais_bench: the project's Python cannot import it; install the wheels ais_bench "
            "and aclruntime into .venv",
            "": f"{name}, ais_bench: neither is here; put {name} into the project's folder, or "
            "install the wheels ais_bench and aclruntime",
        }
        found.missing.append(lacks[found.runner])
    found.lines.append(f"runner     {found.runner or 'none'}")


def _find_tool(name: str, folders: Sequence[Path]) -> tuple[Path | None, str]:
    """Return the tool, or None and why what lies there will not do."""
    unfit = ""
    for folder in (*folders, identity.PROJECT):
        place = folder / name
        if place.is_file() and os.access(place, os.X_OK):
            return place, ""
        if place.exists() and not unfit:
            unfit = f"{place} is not executable (chmod +x)"
    return tools.which(name), unfit
