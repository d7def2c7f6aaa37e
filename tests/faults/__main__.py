"""`make chaos`: builds go on while services die at every failpoint and at random, and servers are away.

Of the logs, `kafka` is one broker, `cluster` three of which one at a time is killed.
"""

import asyncio
import shutil
import sys
import tempfile
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from random import SystemRandom

from faults.chaos import chaos, crowds, tell
from faults.servers import LOGS


def arguments(words: Sequence[str] | None = None) -> Namespace:
    """What is asked for on the command line, or by these words."""
    parser = ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--log", choices=LOGS, action="append", help="this log alone")
    parser.add_argument("--only", choices=("faults", "crowd"), help="these alone")
    parser.add_argument("--crowd", type=int, default=10_000, help="runs that are asked for at once")
    parser.add_argument("--kills", type=int, default=1000, help="SIGKILLs at random moments")
    parser.add_argument("--events", type=int, default=100_000, help="events that no build makes")
    parser.add_argument("--deaths", type=int, default=2, help="deaths at each failpoint, one behind another")
    parser.add_argument("--later", type=int, default=1, help="deaths at each failpoint that let some passes go by")
    parser.add_argument("--zombies", type=int, default=1, help="stops at each failpoint: replaced, then continued")
    parser.add_argument("--cuts", type=int, default=20, help="commits of each kind that are not answered")
    parser.add_argument("--outage-seconds", type=float, default=60.0, help="how long servers are away")
    parser.add_argument("--storm-seconds", type=float, default=60.0, help="how long members join and leave")
    parser.add_argument("--storm-every", type=float, default=2.0, help="seconds from one to the next in a group")
    parser.add_argument("--session-seconds", type=float, default=3.0, help="silence that says a service is dead")
    parser.add_argument("--hours", type=float, default=4.0, help="the longest that the faults of a log may take")
    parser.add_argument("--seed", type=int, default=SystemRandom().randrange(10**6))
    return parser.parse_args(words)


def main() -> None:
    """Chaos on the logs that are asked for, and the verdict."""
    given, found = arguments(), []
    for log in given.log or LOGS:
        folder = Path(tempfile.mkdtemp(prefix=f"autopack-chaos-{log}-"))
        tell(f"chaos on {log}, seed {given.seed}, in {folder}, which stays where something does not hold")
        violations = [] if given.only == "crowd" else asyncio.run(chaos(log, given, folder))
        if given.only != "faults":
            violations += asyncio.run(crowds(log, given, folder))
        found += [f"{log}: {one}" for one in violations]
        if not violations:
            shutil.rmtree(folder)
    tell("\n".join(found) or "every invariant holds")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
