"""Sharing out."""

import unittest

from pocket.money import Money
from pocket.split import split


class TestSplit(unittest.TestCase):
    """What becomes of an amount that is shared out."""

    def test_no_cent_is_lost(self) -> None:
        """Ten euros among three."""
        self.assertEqual(split(Money(1000), 3), [Money(334), Money(333), Money(333)])

    def test_a_debt_is_shared_as_well(self) -> None:
        """Below zero the sum stays the same, too."""
        self.assertEqual(sum(part.cents for part in split(Money(-1000), 3)), -1000)

    def test_nobody_to_share_with_is_an_error(self) -> None:
        """There is no split into nothing."""
        with self.assertRaises(ValueError):
            split(Money(1000), 0)
