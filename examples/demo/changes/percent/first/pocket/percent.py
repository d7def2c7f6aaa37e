"""Percentages of an amount."""

from dataclasses import replace

from pocket.money import Money


def percent(money: Money, rate: int) -> Money:
    """Take a percentage of an amount, half a cent rounded up."""
    return replace(money, cents=money.cents * rate // 100)
