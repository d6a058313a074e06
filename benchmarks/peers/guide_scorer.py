"""The published guide's scoring design, file by file and number by number.

Every file of the folder is opened, its first line read and split, each word made a NumPy float32
by itself; the classes are fully sorted by argsort of the negated scores, and the label is looked
for in that order, place after place. At the end Top1 to Top5 go into a JSON file of the published
form. Text only, as the guide has it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

MOST_TOP = 5


def main(dumps: Path, labels_file: Path, result: Path) -> None:
    """Score every file in `dumps` and write `result`."""
    labels = {}
    for line in labels_file.read_text(encoding="utf-8").splitlines():
        name, label = line.split(" ")
        labels[name.split(".")[0]] = int(label)
    hits = np.zeros(MOST_TOP)
    count = classes = 0
    for path in dumps.iterdir():
        image = path.name.split(".")[0].rsplit("_", 1)[0]
        with path.open(encoding="utf-8") as file:
            words = file.readline().strip().split(" ")
        classes = len(words)
        scores = np.zeros(classes, dtype=np.float32)
        for place, word in enumerate(words):
            scores[place] = np.float32(word)
        order = np.argsort(-scores)
        for place in range(min(classes, MOST_TOP)):
            if order[place] == labels[image]:
                hits[place] += 1
                break
        count += 1
    top = np.cumsum(hits[: min(classes, MOST_TOP)]) / count
    entries = [("Number of images", str(count)), ("Number of classes", str(classes))]
    entries += [(f"Top{n} accuracy", f"{round(share * 100, 2)}%") for n, share in enumerate(top, 1)]
    content = {
        "title": "Overall statistical evaluation",
        "value": [{"key": key, "value": value} for key, value in entries],
    }
    result.write_text(json.dumps(content), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]))
