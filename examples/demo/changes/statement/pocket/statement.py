"""A statement of account."""

from collections.abc import Iterable

from pocket.money import Money

WIDTH = 40


def statement(opening: Money, bookings: Iterable[tuple[str, Money]]) -> str:
    """List what was booked, one a line, between the opening and the closing balance."""
    lines = [_line("Opening balance", opening)]
    closing = opening
    for purpose, amount in bookings:
        lines.append(_line(purpose, amount))
        closing += amount
    return "\n".join([*lines, _line("Closing balance", closing)])


def _line(text: str, amount: Money) -> str:
    return f"{text[:28]:<28}{amount!s:>{WIDTH - 28}}"
