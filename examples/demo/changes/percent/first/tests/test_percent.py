"""Percentages."""

import unittest

from pocket.money import Money
from pocket.percent import percent


class TestPercent(unittest.TestCase):
    """What a percentage of an amount is."""

    def test_a_tenth_is_a_tenth(self) -> None:
        """Where nothing is to be rounded."""
        self.assertEqual(percent(Money(1000), 10), Money(100))

    def test_half_a_cent_is_rounded_up(self) -> None:
        """15 % of 30 cents are 4.5 cents."""
        self.assertEqual(percent(Money(30), 15), Money(5))
