"""One check, with its tries: a flake is told from a failure by running it again."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import assert_never

from events.configuration import Check
from events.families.verify import CheckOutcome, CheckResult
from services.artifacts import ArtifactStore
from services.clipping import clipped
from services.processes import Completed, Ending
from services.sandbox import Job, Mount, Sandbox
from services.verifier.junit import count_tests

OUTPUT_CHARACTERS = 2500


class CheckRunner:
    """Runs checks in one checked-out tree; `lent` shows what the preparation made."""

    def __init__(
        self,
        sandbox: Sandbox,
        store: ArtifactStore,
        folder: Path,
        lent: tuple[Mount, ...],
        say: Callable[[str], None],
    ) -> None:
        self._sandbox = sandbox
        self._store = store
        self._folder = folder
        self._lent = lent
        self._say = say

    async def run(self, check: Check, tries: int, pause_seconds: float) -> CheckResult:
        """Run a check until it is green or out of tries. A time limit that was passed is not tried again."""
        used = 1
        done = await self._once(check)
        while used < tries and done.ending is Ending.EXITED and not done.succeeded:
            self._say(f"{check.name}: red, trying again ({used} of {tries} tries used)")
            await asyncio.sleep(pause_seconds)
            used += 1
            done = await self._once(check)
        return await self._result(check, done, used)

    async def _once(self, check: Check) -> Completed:
        return await self._sandbox.run(
            Job(
                argv=check.argv,
                work_folder=self._folder,
                readonly=self._lent,
                limit_seconds=check.timeout_seconds,
                on_line=self._say,
            )
        )

    async def _result(self, check: Check, done: Completed, tries: int) -> CheckResult:
        output = done.output.data
        report = None if check.junit is None else self._folder / check.junit
        return CheckResult(
            name=check.name,
            outcome=_outcome(done),
            exit_code=done.exit_code,
            tries=tries,
            flaky=done.succeeded and tries > 1,
            tests=None if report is None else await asyncio.to_thread(count_tests, self._folder, report),
            duration_seconds=round(done.duration_seconds, 6),
            output=clipped(_shown(done), OUTPUT_CHARACTERS),
            log=await self._store.put(output) if output else None,
        )


def _outcome(done: Completed) -> CheckOutcome:
    match done.ending:
        case Ending.EXITED:
            return CheckOutcome.PASSED if done.exit_code == 0 else CheckOutcome.FAILED
        case Ending.TIMED_OUT | Ending.IDLE | Ending.STOPPED:
            return CheckOutcome.TIMED_OUT
        case Ending.FAILED_TO_START:
            return CheckOutcome.NOT_STARTED
        case _:
            assert_never(done.ending)


def _shown(done: Completed) -> str:
    """The end of what it printed, below why it ended where that was not an exit code."""
    said = done.output.last_text(OUTPUT_CHARACTERS - 200)
    return said if done.ending is Ending.EXITED else f"{done.reason}\n{said}".strip()
