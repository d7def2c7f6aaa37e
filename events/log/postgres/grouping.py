"""Doing together what is asked for at the same time: what comes while a statement runs goes into the next."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Generic, TypeVar

from events.log.port import LogUnavailable

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")
CLOSED = "the log has been closed"


class Group(Generic[Asked, Answer]):
    """One statement at a time, which carries all that waits for it.

    `carry` answers each of what it is given, in order; an answer may be an exception, which is then raised to
    whoever asked. A fault in one of them is no fault of the others: where a statement fails for another reason
    than that the log is away, each goes alone. What nobody waits for any more is carried out all the same once
    its statement has begun. `weight` and `limit` bound what goes into one.
    """

    def __init__(
        self,
        name: str,
        carry: Callable[[Sequence[Asked]], Awaitable[Sequence[Answer | Exception]]],
        weight: Callable[[Asked], int] = lambda _: 0,
        limit: int = 1,
    ) -> None:
        self._name = name
        self._carry = carry
        self._weight = weight
        self._limit = limit
        self._waiting: deque[tuple[Asked, asyncio.Future[Answer]]] = deque()
        self._task: asyncio.Task[None] | None = None
        self._is_closed = False

    async def ask(self, asked: Asked) -> Answer:
        """Have it carried out. Raises LogUnavailable, and what `carry` answers."""
        if self._is_closed:
            raise LogUnavailable(CLOSED)
        answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((asked, answered))
        if self._task is None:
            self._task = asyncio.create_task(self._carry_all(), name=self._name)
        return await answered

    async def close(self) -> None:
        """Carry out no more. Who still waits is told so."""
        self._is_closed = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
        _fail(self._waiting, LogUnavailable(CLOSED))

    async def _carry_all(self) -> None:
        """Until nobody waits. Whatever ends it, nobody is left waiting."""
        try:
            while self._waiting:
                await self._carry_group(self._next_group())
        finally:
            self._task = None
            _fail(self._waiting, LogUnavailable(CLOSED))

    def _next_group(self) -> list[tuple[Asked, "asyncio.Future[Answer]"]]:
        """The first that still wait, as many as one statement should carry."""
        group: list[tuple[Asked, asyncio.Future[Answer]]] = []
        weight = 0
        while self._waiting and (not group or weight < self._limit):
            asked, answered = self._waiting.popleft()
            if not answered.done():
                group.append((asked, answered))
                weight += self._weight(asked)
        return group

    async def _carry_group(self, group: Sequence[tuple[Asked, "asyncio.Future[Answer]"]]) -> None:
        try:
            answers = await self._carry([asked for asked, _ in group]) if group else ()
        except LogUnavailable as error:
            _fail(group, error)
        except asyncio.CancelledError:
            _fail(group, LogUnavailable(CLOSED))
            raise
        except Exception as error:
            if len(group) == 1:
                _fail(group, error)
                return
            for alone in group:
                await self._carry_group((alone,))
        else:
            for (_, answered), answer in zip(group, answers, strict=True):
                _tell(answered, answer)


def _tell(answered: "asyncio.Future[Answer]", answer: Answer | Exception) -> None:
    if answered.done():
        return
    if isinstance(answer, Exception):
        answered.set_exception(answer)
    else:
        answered.set_result(answer)


def _fail(
    waiting: Iterable[tuple[Asked, "asyncio.Future[Answer]"]],
    error: Exception,
) -> None:
    for _, answered in waiting:
        _tell(answered, error)
