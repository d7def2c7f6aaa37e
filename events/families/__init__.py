"""The events, one family a module: past tense, frozen, named as they are spelled everywhere."""
