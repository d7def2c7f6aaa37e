"""Statements."""

import unittest

from pocket.money import Money
from pocket.statement import WIDTH, statement


class TestStatement(unittest.TestCase):
    """What a statement shows."""

    def setUp(self) -> None:
        """A day in town."""
        self.lines = statement(Money(1000), [("Tram", Money(-240)), ("Bread", Money(-385))]).splitlines()

    def test_the_last_line_is_what_is_left(self) -> None:
        """Opening balance and bookings add up."""
        self.assertEqual(self.lines[-1].split(), ["Closing", "balance", "3.75"])

    def test_every_line_has_the_same_width(self) -> None:
        """Amounts stand under each other."""
        self.assertEqual({len(line) for line in self.lines}, {WIDTH})
