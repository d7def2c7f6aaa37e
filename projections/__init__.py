"""The read models: what the history says, folded into tables and files. Each can be made again from offset 0."""
