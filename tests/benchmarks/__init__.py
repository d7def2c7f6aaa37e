"""What the machinery between agents costs: measured with real servers and processes, and printed as a table."""
