"""The timed, overlapped run: read, prepare, infer, write."""
