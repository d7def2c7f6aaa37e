"""An amount of money."""

from dataclasses import dataclass, replace


class CurrenciesDiffer(ValueError):
    """Two amounts are not of one currency."""


@dataclass(frozen=True)
class Money:
    """An amount in whole cents of a currency; it may be negative."""

    cents: int
    currency: str = "EUR"

    def __add__(self, other: "Money") -> "Money":
        if self.currency != other.currency:
            raise CurrenciesDiffer(f"{self.currency} and {other.currency}")
        return replace(self, cents=self.cents + other.cents)

    def __str__(self) -> str:
        sign = "-" if self.cents < 0 else ""
        whole, rest = divmod(abs(self.cents), 100)
        return f"{sign}{whole}.{rest:02d}"
