"""The fault suite: every fault that a long run can meet, injected into real runs of the stages.

`python3 -m tests.faults --help` says how it is called. Each try starts a stage's own command on a
small real data set, lets something go wrong, and starts the same command again; then every file of
the result is compared, byte by byte, with that of an undisturbed run.
"""
