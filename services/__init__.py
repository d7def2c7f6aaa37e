"""The shells: supervisor, workers, API and command line around the pure core."""
