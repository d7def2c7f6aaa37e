"""Sharing an amount out."""

from dataclasses import replace

from pocket.money import Money


def split(money: Money, parts: int) -> list[Money]:
    """Split an amount into parts that differ by a cent at most and lose none; the larger ones come first."""
    if parts < 1:
        raise ValueError(f"an amount cannot be split into {parts} parts")
    share, rest = divmod(money.cents, parts)
    return [replace(money, cents=share + (1 if place < rest else 0)) for place in range(parts)]
