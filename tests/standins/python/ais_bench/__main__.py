"""`python3 -m ais_bench`."""

import sys

from .infer.options import parse
from .infer.process import run

if __name__ == "__main__":
    sys.exit(run(parse(sys.argv[1:])))
