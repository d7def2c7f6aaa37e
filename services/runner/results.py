"""Remembered answers: kept under the request's id while they are on their way, so that nothing is done twice."""

from typing import Protocol

from events.log.port import NewRecord

RESULTS = "results"


class ResultStore(Protocol):
    """Where answers are kept; the first one stays."""

    async def create(self, name: str, data: bytes) -> bool:
        """Keep a value under a new name; False where there is one already."""

    async def read(self, name: str) -> bytes | None:
        """The value of that name, if there is one."""


class RememberedResults:
    """The answers of one kind of worker."""

    def __init__(self, store: ResultStore, service: str) -> None:
        self._store = store
        self._service = service

    async def recall(self, project: str, request_id: str) -> NewRecord | None:
        """The answer that an earlier instance kept for a request."""
        kept = await self._store.read(self._name(project, request_id))
        if kept is None:
            return None
        type_name, _, value = kept.partition(b"\n")
        return NewRecord(project, value, {"type": type_name})

    async def keep(self, project: str, request_id: str, answer: NewRecord) -> None:
        """Keep an answer. Where there is one already, that one stays."""
        data = answer.headers["type"] + b"\n" + answer.value
        await self._store.create(self._name(project, request_id), data)

    def _name(self, project: str, request_id: str) -> str:
        return f"{RESULTS}/{self._service}/{project}/{request_id}"
