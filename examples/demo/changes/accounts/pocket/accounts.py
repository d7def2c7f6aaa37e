"""A registry of accounts."""

from pocket.money import Money


class Accounts:
    """Accounts by their names, each with its balance."""

    def __init__(self) -> None:
        self._balances: dict[str, Money] = {}

    def open(self, name: str, balance: Money) -> None:
        """Open an account under a name that is not taken yet."""
        self._balances[name] = balance

    def balance(self, name: str) -> Money:
        """Tell what is in an account; KeyError where there is none of that name."""
        return self._balances[name]

    def book(self, name: str, amount: Money) -> None:
        """Add an amount to an account, or take it away where it is negative."""
        self._balances[name] = self.balance(name) + amount
