"""The stand-in of `npu-smi`: the tables of `info`, its lists, and a driver that is missing.

The layouts are those published for npu-smi 21.0.3.1 (310) and 22.0.0 (310P3): two rows per chip,
the name in the first. assumed: those of `-l`, `-m` and `-t`, of which only single lines are known.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from tests.standins import card, faults

NO_DRIVER = "dcmi module initialize failed. ret is -8005"
_VERSIONS = {"310": "21.0.3.1"}
_USAGE = "usage: npu-smi info [-l | -m | -t TYPE -i ID [-c CHIP]]"


def main(words: list[str]) -> int:
    """Answer one command line; return the exit status."""
    print("stand-in for npu-smi: there is no card", file=sys.stderr)
    if words == ["-v"]:
        print(f"npu-smi version: {version()}")
        return 0
    if not words or words[0] != "info":
        print(_USAGE)
        return 1
    if faults.is_active("no_driver"):
        # assumed: the status; the text is published.
        print(NO_DRIVER)
        return 255
    if len(words) == 1:
        print(table())
        return 0
    return _listed(words[1]) if len(words) == 2 else _asked(words[1:])


def version() -> str:
    """Return the driver's version."""
    return _VERSIONS.get(card.chip(), "22.0.0")


def table() -> str:
    """Return the table of `npu-smi info`."""
    if card.chip() == "310":
        widths = (19, 17, 40)
        heads = ("Power(W)          Temp(C)", "AICore(%)         Memory-Usage(MB)")
    else:
        widths = (19, 17, 54)
        heads = (
            "Power(W)     Temp(C)           Hugepages-Usage(page)",
            "AICore(%)    Memory-Usage(MB)",
        )

    def row(*cells: str) -> str:
        return "|".join(["", *(f" {c:<{w - 1}}" for c, w in zip(cells, widths, strict=True)), ""])

    inner = sum(widths) + 2
    thin = "+".join(["", *("-" * width for width in widths), ""])
    thick = thin.replace("-", "=")
    title = f"npu-smi {version():<25}Version: {version()}"
    lines = [f"+{'-' * inner}+", f"| {title:<{inner - 1}}|", thin]
    lines += [row("NPU     Name", "Health", heads[0]), row("Chip    Device", "Bus-Id", heads[1])]
    lines.append(thick)
    for device in range(card.device_count()):
        last = device == card.device_count() - 1
        lines += _rows(row, device)
        lines.append(thick if last or card.chip() != "310" else thin)
    return "\n".join(lines)


def _rows(row: Callable[..., str], device: int) -> list[str]:
    name = card.chip()
    if name == "310":
        npu, chip = 1 + device // 4, device % 4
        return [
            row(f"{npu:<8}{name}", "OK", f"{'12.8':<18}{49 + chip}"),
            row(f"{chip:<8}{device}", f"0000:0{1 + chip}:00.0", f"{0:<18}{'2621 / 8192'}"),
        ]
    return [
        row(f"{device:<8}{name}", "OK", f"{'15.8':<13}{42 + device:<18}{'0    / 0'}"),
        row(f"{0:<8}{device}", f"0000:{82 + 7 * device}:00.0", f"{0:<13}{'1074 / 21534'}"),
    ]


def _listed(option: str) -> int:
    per_card = 4 if card.chip() == "310" else 1
    cards = -(-card.device_count() // per_card)
    if option == "-l":
        print(f"        Total Count                    : {cards}")
        for npu in range(cards):
            print(f"\n        NPU ID                         : {npu + (per_card == 4)}")
            print(f"        Chip Count                     : {per_card}")
        return 0
    if option == "-m":
        print("        NPU ID    Chip ID    Chip Logic ID    Chip Name")
        for device in range(card.device_count()):
            npu, chip = device // per_card + (per_card == 4), device % per_card
            print(f"        {npu:<10}{chip:<11}{device:<17}Ascend {card.chip()}")
        return 0
    print(_USAGE)
    return 1


def _asked(words: list[str]) -> int:
    given = dict(zip(words[::2], words[1::2], strict=False))
    if len(words) % 2 or set(given) - {"-t", "-i", "-c"} or not {"-t", "-i"} <= set(given):
        print(_USAGE)
        return 1
    if given["-t"] == "board":
        print(f"        NPU ID                         : {given['-i']}")
        print(f"        Software Version               : {version()}")
        print("        Compatibility                  : OK")
        if "-c" in given:
            print(f"        Chip Name                      : Ascend{card.chip()}")
        return 0
    if given["-t"] == "power":
        print("        Power Dissipation(W)           : 12.8")
        return 0
    print(_USAGE)
    return 1
