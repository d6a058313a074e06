"""The table of speeds, through the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from pipeline import identity, published, record
from pipeline.formats import perf

SCRIPT = Path(__file__).resolve().parent.parent / "perf_report.py"

# As the guide prints them for batches 1, 4, 8, 16 and 32.
CARD_RATES = {1: "1126.432", 4: "1419.168", 8: "1456.516", 16: "1530.264", 32: "1529.584"}


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(SCRIPT), *arguments], cwd=folder, capture_output=True, text=True
    )


def block(interface_rate: float, e2e_rate: float) -> str:
    """Return a perf file around the two rates that the guide gives for each batch size."""
    before = (e2e_rate, 5e7 / e2e_rate, 201.42, 4.96474, 201.059, 4.97367)
    after = (e2e_rate, interface_rate, 4.54289, e2e_rate, 5.2403)
    return perf.to_text(perf.DatasetPerf(*before, *after))


@pytest.fixture
def blocks(tmp_path: Path) -> Path:
    """A folder with the guide's five blocks, in both spellings of their tags."""
    for speed in published.SPEEDS:
        if speed.chip_310 and speed.e2e_310:
            text = block(speed.chip_310, speed.e2e_310)
            if speed.batch_size > 4:
                text = text.replace("[infer]", "[inference]").replace("[post]", "[postprocess]")
            (tmp_path / perf.perf_name("vision", speed.batch_size, 0)).write_text(text)
    return tmp_path


def names(folder: Path) -> list[str]:
    # By name, 16 comes before 4: the table must sort by number.
    return sorted(path.name for path in folder.glob("*.txt"))


def test_published_blocks_give_the_published_card_rates_in_order_of_batch_size(
    blocks: Path,
) -> None:
    done = run(blocks, *names(blocks))
    assert (done.returncode, done.stderr) == (0, "")
    rows = [line.split() for line in done.stdout.splitlines()[1:6]]
    assert {int(row[0]): row[4] for row in rows} == CARD_RATES
    assert [int(row[0]) for row in rows] == [1, 4, 8, 16, 32]
    first = ["1", "0", "vision", "281.608", "1126.432", "190.286", "67.6%", "4.54289", "unknown"]
    assert rows[0] == first
    assert "Interface rate x 4: a 310 card has 4 chips" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("OK: 5 perf files in ")
    assert "1530.264" in done.stdout.splitlines()[-1]


def test_json_holds_the_same_figures_with_their_units_and_nothing_else(blocks: Path) -> None:
    done = run(blocks, "--json", *names(blocks))
    content = json.loads(done.stdout)
    assert {row["batch_size"]: str(row["card_rate_samples_per_s"]) for row in content["rows"]} == (
        CARD_RATES
    )
    first = content["rows"][0]
    assert first["e2e_share"] == pytest.approx(190.286 / 281.608)
    assert first["latency_ms_per_sample"] == 4.54289
    assert (first["kind"], first["device"], first["model"]) == ("dataset", 0, "vision")
    assert done.stderr.startswith("OK: ")


def test_chips_as_given_win(blocks: Path) -> None:
    done = run(blocks, "--chips", "1", perf.perf_name("vision", 1, 0))
    assert done.stdout.splitlines()[1].split()[4] == "281.608"
    assert "x 1: --chips" in done.stdout


def test_pure_inference_stands_in_the_same_table_with_its_blanks(blocks: Path) -> None:
    name = perf.pure_perf_name("vovnet39_bs16", 1)
    (blocks / name).write_text("\nave_throughputRate: 974.27samples/s, ave_latency: 1.02917ms\n\n")
    done = run(blocks, *names(blocks))
    row = next(line for line in done.stdout.splitlines() if "pure inference" in line)
    expected = ["16", "1", "vovnet39_bs16", "(pure", "inference)", "974.27", "3897.08", "1.02917"]
    expected.append("unknown")
    assert row.split() == expected
    rows = json.loads(run(blocks, "--json", name).stdout)["rows"]
    assert rows[0]["e2e_rate_samples_per_s"] is None


def keep_record(
    folder: Path, output: Path, perf_file: Path, stated: Mapping[str, object] | None = None
) -> None:
    content = {
        "schema": record.SCHEMA,
        "status": "complete",
        "outputs": [{"path": str(output)}, identity.fingerprint(perf_file)],
        "details": {"engine": "onnxruntime"} | ({"quotable": dict(stated)} if stated else {}),
    }
    record.path_of(folder / output.name).write_text(json.dumps(content))


def test_what_the_cards_own_tool_measured_is_of_a_card(blocks: Path) -> None:
    name = perf.perf_name("vision", 4, 0)
    keep_record(blocks, blocks / "dumpOutput_device0", blocks / name)
    place = record.path_of(blocks / "dumpOutput_device0")
    content = json.loads(place.read_text())
    content |= {"settings": {"runner": "tool"}, "details": {"engine": "benchmark.x86_64"}}
    place.write_text(json.dumps(content))
    rates = {line.split()[4] for line in run(blocks, name).stdout.splitlines()[1:2]}
    assert rates == {CARD_RATES[4]}


def test_what_was_measured_on_this_machine_is_one_chip(blocks: Path) -> None:
    name = perf.perf_name("vision", 4, 0)
    keep_record(blocks, blocks / "dumpOutput_device0", blocks / name)
    done = run(blocks, *names(blocks))
    rates = {line.split()[0]: line.split()[4] for line in done.stdout.splitlines()[1:6]}
    assert rates == {str(b): rate for b, rate in CARD_RATES.items()} | {"4": "354.792"}
    assert "x 1: measured here by onnxruntime" in done.stdout
    assert "x 4: a 310 card" in done.stdout


def test_records_among_the_files_are_passed_over(blocks: Path) -> None:
    keep_record(blocks, blocks / names(blocks)[0], blocks / names(blocks)[0])
    done = run(blocks, *sorted(path.name for path in blocks.iterdir()))
    assert (done.returncode, done.stderr) == (0, "")
    assert "5 perf files" in done.stdout
    alone = run(blocks, f"{names(blocks)[0]}{record.SUFFIX}")
    assert (alone.returncode, alone.stdout, alone.stderr.count("\n")) == (1, "", 1)
    assert "is a record, and no perf file" in alone.stderr


def test_record_of_another_file_of_that_name_vouches_for_nothing(blocks: Path) -> None:
    path = blocks / perf.perf_name("vision", 4, 0)
    keep_record(blocks, blocks / "dumpOutput_device0", path)
    path.write_text(block(354.792, 194.168))
    assert "1419.168" in run(blocks, path.name).stdout


def test_files_without_a_record_say_once_that_nothing_is_known(blocks: Path) -> None:
    done = run(blocks, *names(blocks))
    assert [line.split()[-1] for line in done.stdout.splitlines()[:6]] == [
        "verdict",
        *["unknown"] * 5,
    ]
    assert done.stdout.splitlines()[-2] == "unknown (all): no record"


def test_verdicts_stand_in_the_table_and_the_reasons_below_it(blocks: Path) -> None:
    smoke = {"verdict": "SMOKE", "reasons": ["15 calls were timed", "3 s were timed"]}
    stated = {1: {"verdict": "QUOTABLE", "reasons": []}, 8: smoke, 32: smoke, 16: {}}
    for size, what in stated.items():
        path = blocks / perf.perf_name("vision", size, 0)
        keep_record(blocks, path, path, what)
    done = run(blocks, *names(blocks))
    words = {line.split()[0]: line.split()[-1] for line in done.stdout.splitlines()[1:6]}
    expected = {1: "QUOTABLE", 4: "unknown", 8: "SMOKE", 16: "unknown", 32: "SMOKE"}
    assert words == {str(size): word for size, word in expected.items()}
    file = {size: perf.perf_name("vision", size, 0) for size in expected}
    below = done.stdout.splitlines()[6:-1]
    assert f"SMOKE ({file[8]}, {file[32]}): 15 calls were timed; 3 s were timed" in below
    assert f"unknown ({file[4]}): no record" in below
    assert f"unknown ({file[16]}): its record does not say" in below
    rows = json.loads(run(blocks, "--json", *names(blocks)).stdout)["rows"]
    assert [row["verdict"] for row in rows] == list(expected.values())
    assert rows[2]["verdict_because"] == smoke["reasons"]


def test_chips_as_given_leave_the_verdict_as_it_is(blocks: Path) -> None:
    path = blocks / perf.perf_name("vision", 1, 0)
    keep_record(blocks, path, path, {"verdict": "QUOTABLE", "reasons": []})
    done = run(blocks, "--chips", "2", path.name)
    assert done.stdout.splitlines()[1].split()[-1] == "QUOTABLE"
    assert "unknown" not in done.stdout


def test_file_of_any_name_is_read_and_comes_last(blocks: Path) -> None:
    other = blocks / "a [bold]copy.log"
    other.write_text((blocks / perf.perf_name("vision", 1, 0)).read_text())
    done = run(blocks, other.name, *names(blocks))
    rows = done.stdout.splitlines()[1:7]
    assert rows[-1].split()[:3] == ["a", "[bold]copy.log", "281.608"]
    assert run(blocks, other.name).stdout.splitlines()[-1].startswith("OK: 1 perf file in")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "line 1: the file is empty"),
        ("[e2e] throughputRate: x, latency: 1\n", "line 1: 'x'"),
        (block(281.608, 190.286).replace("Interface", "In\tface"), "line 4"),
        ("\N{BEER MUG}", "line 1"),
    ],
)
def test_malformed_file_is_one_line_that_names_file_and_line(
    text: str, words: str, blocks: Path
) -> None:
    (blocks / "odd one.txt").write_text(text, encoding="utf-8")
    done = run(blocks, perf.perf_name("vision", 1, 0), "odd one.txt")
    assert (done.returncode, done.stdout) == (1, "")
    assert len(done.stderr.splitlines()) == 1
    assert f"odd one.txt: {words}" in done.stderr


def test_binary_file_is_malformed_too(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_bytes(b"\x00\xff\n" * 9)
    done = run(tmp_path, "x.txt")
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [([], 2), (["--chips", "0", "x"], 2), (["--jsn", "x"], 2), (["missing.txt"], 1), (["."], 1)],
)
def test_wrong_arguments_are_one_line_and_the_right_code(
    arguments: list[str], code: int, tmp_path: Path
) -> None:
    done = run(tmp_path, *arguments)
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (code, "", 1)
