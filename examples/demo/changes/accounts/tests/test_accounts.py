"""Accounts."""

import unittest

from pocket.accounts import Accounts
from pocket.money import Money


class TestAccounts(unittest.TestCase):
    """What accounts do."""

    def setUp(self) -> None:
        """One account, with ten euros."""
        self.accounts = Accounts()
        self.accounts.open("purse", Money(1000))

    def test_what_is_booked_changes_the_balance(self) -> None:
        """Something is bought."""
        self.accounts.book("purse", Money(-250))
        self.assertEqual(self.accounts.balance("purse"), Money(750))

    def test_an_unknown_account_has_no_balance(self) -> None:
        """Nothing is made up."""
        with self.assertRaises(KeyError):
            self.accounts.balance("mattress")
