"""Currencies."""

import unittest

from pocket.money import CurrenciesDiffer, Money
from pocket.split import split


class TestCurrency(unittest.TestCase):
    """What a currency changes."""

    def test_parts_keep_their_currency(self) -> None:
        """Sharing out is no exchange."""
        self.assertEqual(split(Money(200, "CHF"), 2), [Money(100, "CHF"), Money(100, "CHF")])

    def test_amounts_of_two_currencies_do_not_add_up(self) -> None:
        """There is no rate here."""
        with self.assertRaises(CurrenciesDiffer):
            Money(100, "CHF") + Money(100, "EUR")
