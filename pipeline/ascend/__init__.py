"""The card's own path: CANN's tools found, called, and understood.

Interfaces are the documented ones; what goes beyond them is marked `assumed:` where it stands and
listed in docs/ascend.md.
"""
