"""Us beside our peers: one command per table, on the machine at hand."""
