"""Processes that help to make a table again: reading and folding the history takes a processor for each."""

from services.rebuilding.helper import helpers

__all__ = ["helpers"]
