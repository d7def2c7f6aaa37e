"""The core: envelope, event families, the pure decider, and the log."""
