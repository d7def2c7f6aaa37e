"""An amount of money."""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Money:
    """An amount in whole cents of a currency; it may be negative."""

    cents: int
    currency: str = "EUR"

    def __add__(self, other: "Money") -> "Money":
        return replace(self, cents=self.cents + other.cents)

    def __str__(self) -> str:
        sign = "-" if self.cents < 0 else ""
        whole, rest = divmod(abs(self.cents), 100)
        return f"{sign}{whole}.{rest:02d}"
