"""The supervisor: the one writer of the history. Pure inside; its shell does no I/O but the log."""
