"""Amounts."""

import unittest

from pocket.money import Money


class TestMoney(unittest.TestCase):
    """What an amount does."""

    def test_amounts_add_up(self) -> None:
        """Cents carry over."""
        self.assertEqual(Money(150) + Money(75), Money(225))

    def test_an_amount_shows_two_places(self) -> None:
        """Also where the cents are fewer than ten, and below zero."""
        self.assertEqual(str(Money(1205)), "12.05")
        self.assertEqual(str(Money(-7)), "-0.07")
