"""Inference; `GENERATION` is 23 or 25, the years of the two published states (`STANDIN_AIS`)."""

import os

GENERATION = int(os.environ.get("STANDIN_AIS", "25"))
if GENERATION not in (23, 25):
    raise ValueError(f"STANDIN_AIS is 23 or 25, not {GENERATION}")
