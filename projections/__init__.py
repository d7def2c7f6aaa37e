"""Read models folded from the history into Postgres."""
