"""The applier: prepares runs, makes candidates by the governed path, moves the integration branch."""
