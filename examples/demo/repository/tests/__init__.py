"""The tests of Pocket."""
