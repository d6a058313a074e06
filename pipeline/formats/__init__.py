"""One file format per module, reading and writing in one place."""
