"""The verifier: runs the authoritative checks on the very candidate."""
