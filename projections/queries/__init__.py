"""What readers ask of the tables: a few statements an answer, however many rows it has."""
