"""The failpoints of each service on a log, and how often it has died there."""

from collections import Counter

from events.failpoints import FAILPOINTS, point_named


def points_on(log: str) -> dict[str, list[str]]:
    """The failpoints that each service can die at on a log."""
    found: dict[str, list[str]] = {}
    for point in FAILPOINTS:
        if log in point.logs:
            for service in point.services:
                found.setdefault(service, []).append(point.name)
    return found


def deaths_table(deaths: Counter[tuple[str, str]]) -> str:
    """A line a point: who died there, how often, and how things stood."""
    standing = {point.name: point.standing for point in FAILPOINTS}
    return "\n".join(
        f"  {service:<11}{name:<22}{count:>3}  {standing[point_named(name)]}"
        for (service, name), count in sorted(deaths.items())
    )
