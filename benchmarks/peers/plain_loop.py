"""The plain loop: one picture after the other in one process, torchvision, one file each.

It stands for what one writes without a thought to speed; torch uses as many threads as it likes.
"""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.peers.transform import build, open_rgb, output_name


def main(source: Path, destination: Path) -> None:
    """Prepare every picture in `source` into `destination`."""
    transform = build()
    for path in sorted(source.iterdir()):
        transform(open_rgb(path)).numpy().tofile(destination / output_name(path))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
