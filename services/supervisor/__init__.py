"""The supervisor: the one writer of the history. Pure inside; its shell knows the log, and keeps snapshots."""
