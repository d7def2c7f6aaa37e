"""The HTTP API: commands go to the log, queries read the tables, and streams of records and output the log."""
