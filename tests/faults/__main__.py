"""`python3 -m tests.faults`: the fault suite, in a mount namespace of its own."""

from __future__ import annotations

import sys

from tests.faults import system

if __name__ == "__main__":
    # Before NumPy is loaded, whose threads would keep a plain user from a namespace.
    reason = system.take_namespace()
    from tests.faults import suite

    sys.exit(suite.main(reason))
