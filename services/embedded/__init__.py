"""The servers that Autopack brings itself, so that a newcomer needs none."""
