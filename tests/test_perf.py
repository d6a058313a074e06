"""Perf files: the tool's own lines, written and read."""

from __future__ import annotations

import re
from dataclasses import astuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.formats import perf

# VoVNet-39, batch 1, one chip of a 310: as the guide shows it.
PUBLISHED = """\
[e2e] throughputRate: 190.286, latency: 262762
[data read] throughputRate: 201.42, moduleLatency: 4.96474
[preprocess] throughputRate: 201.059, moduleLatency: 4.97367
[infer] throughputRate: 190.829, Interface throughputRate: 281.608, moduleLatency: 4.54289
[post] throughputRate: 190.829, moduleLatency: 5.2403
"""
FIGURES = perf.DatasetPerf(
    190.286, 262762, 201.42, 4.96474, 201.059, 4.97367, 190.829, 281.608, 4.54289, 190.829, 5.2403
)
RATES = st.floats(0, 1e12, allow_subnormal=False)


def published_fields(text: str) -> list[str]:
    """Return what the guides' parsers collect: every capture between `:` and `,`."""
    return re.findall(r":(.*?),", text.replace("\n", ","))


def test_published_file_is_read_and_written_character_for_character() -> None:
    assert perf.from_text(PUBLISHED) == FIGURES
    assert perf.to_text(FIGURES) == PUBLISHED


@given(st.builds(perf.DatasetPerf, *[RATES] * 11))
def test_published_parsers_find_the_interface_rate_in_what_is_written(
    figures: perf.DatasetPerf,
) -> None:
    fields = published_fields(perf.to_text(figures))
    assert len(fields) == 11
    assert float(fields[7]) == float(f"{figures.interface_rate:.6g}")


@given(st.builds(perf.DatasetPerf, *[RATES] * 11) | st.builds(perf.PurePerf, RATES, RATES))
def test_what_is_written_comes_back_in_six_digits(
    figures: perf.DatasetPerf | perf.PurePerf,
) -> None:
    back = perf.from_text(perf.to_text(figures))
    assert type(back) is type(figures)
    assert astuple(back) == tuple(float(f"{value:.6g}") for value in astuple(figures))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1451050.4, "1.45105e+06"),
        (0.00001234567, "1.23457e-05"),
        (100.0, "100"),
        (999999.5, "1e+06"),
        (123456.7, "123457"),
        (0.0, "0"),
    ],
)
def test_figures_are_formatted_as_c_streams_do_by_default(value: float, text: str) -> None:
    line = perf.to_text(perf.PurePerf(value, 1.0))
    assert line == f"ave_throughputRate = {text}samples/s, ave_latency = 1ms\n"


def test_tags_of_newer_tools_are_read() -> None:
    text = PUBLISHED.replace("[infer]", "[inference]").replace("[post]", "[postprocess]")
    assert perf.from_text(text) == FIGURES


@pytest.mark.parametrize(
    "text",
    [
        PUBLISHED.replace("\n", "\r\n"),
        "\n\n" + PUBLISHED.replace("\n", "\n\n"),
        PUBLISHED.rstrip(),
        PUBLISHED.replace("262762", "2.62762e+05"),
        PUBLISHED.replace("281.608", "281.608samples/s"),
    ],
)
def test_white_space_and_notation_do_not_matter(text: str) -> None:
    assert perf.from_text(text) == FIGURES


@pytest.mark.parametrize(
    "text",
    [
        "ave_throughputRate = 974.27samples/s, ave_latency = 1.02917ms",
        "\nave_throughputRate = 974.27samples/s, ave_latency = 1.02917ms\n\n",
        "ave_throughputRate: 974.27samples/s, ave_latency: 1.02917ms\n",
        "ave_throughputRate=9.7427e+02samples/s, ave_latency=1.02917ms\n",
    ],
)
def test_pure_inference_file_is_read_with_either_sign(text: str) -> None:
    assert perf.from_text(text) == perf.PurePerf(974.27, 1.02917)


def test_published_parsers_find_the_rate_in_a_pure_inference_file() -> None:
    text = perf.to_text(perf.PurePerf(974.27, 1.02917))
    assert re.findall(r"=(.*?),", text)[0].strip().replace("samples/s", "") == "974.27"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: the file is empty"),
        (" \n\n", "line 1: the file is empty"),
        ("hello\n", r"line 1: not the \[e2e\] line"),
        (PUBLISHED.replace("[preprocess]", "[decode]"), r"line 3: not the \[preprocess\] line"),
        ("\n" + PUBLISHED.replace("281.608", "fast"), "line 5: 'fast' is no rate"),
        (PUBLISHED.replace("190.286", "-1"), "line 1: '-1' is no rate"),
        (PUBLISHED.replace("190.286", "nan"), "line 1: 'nan' is no rate"),
        (PUBLISHED.replace("190.286", "inf"), "line 1: 'inf' is no rate"),
        (PUBLISHED.replace("190.286", "1e999"), "line 1: '1e999' is no rate"),
        (PUBLISHED.replace("190.286", ""), r"line 1: not the \[e2e\] line"),
        ("\n".join(PUBLISHED.splitlines()[:4]), r"line 5: the \[post\] .* line is missing"),
        (PUBLISHED * 2, "line 6: one line too many"),
        (PUBLISHED.replace("Interface ", ""), r"line 4: not the \[infer\]"),
        ("ave_throughputRate = 1samples/s\n", "line 1: not the ave_throughputRate line"),
        ("ave_throughputRate = 1samples/s, ave_latency = 1ms\nx", "line 2: one line too many"),
    ],
)
def test_malformed_file_is_a_value_error_that_names_the_line(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        perf.from_text(text)


@given(st.text(max_size=80))
def test_any_text_is_a_perf_file_or_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"^line [0-9]+: "):
        perf.from_text(text)


def test_names_are_those_of_the_tool_and_are_read_back() -> None:
    name = perf.perf_name("vision", 16, 1)
    assert name == "perf_vision_batchsize_16_device_1.txt"
    assert perf.split_name(name) == perf.PerfName(1, model_type="vision", batch_size=16)
    name = perf.pure_perf_name("vovnet39_bs1", 0)
    assert name == "PureInfer_perf_of_vovnet39_bs1_in_device_0.txt"
    assert perf.split_name(name) == perf.PerfName(0, model_stem="vovnet39_bs1")
    # Where the guides' parsers look for the batch size: the fourth piece of the path.
    assert f"result/{perf.perf_name('vision', 16, 1)}".split("_")[3] == "16"


@pytest.mark.parametrize("name", ["result.json", "perf_vision.txt", "perf_vision_batchsize_1.txt"])
def test_other_names_say_nothing(name: str) -> None:
    assert perf.split_name(name) is None
