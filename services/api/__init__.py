"""The HTTP API: commands go to the log, queries read Postgres alone."""
