"""The one runner around every worker: it follows the history, claims requests, performs, submits, drains."""
