"""The statements of the services that commit what matters, by which a proxy knows them."""

from collections.abc import Mapping

from events.log.postgres.statements import (
    APPEND_EVENTS,
    APPEND_EVENTS_OF_MANY,
    APPEND_STEP,
    SUBMIT,
    SUBMIT_TO_MANY,
    TAKE_OVER,
)
from servers.postgres_proxy import PostgresProxy, Trap, Wanted

_STEPS = {APPEND_EVENTS, APPEND_EVENTS_OF_MANY, APPEND_STEP}
_SUBMISSIONS = {SUBMIT, SUBMIT_TO_MANY}
_JUDGED = (b"autopack.results", b"autopack.commands")
"""The topics of what is to be decided; lines of output are submitted as well, and may be lost."""

COMMITS_OF_THE_LOG: Mapping[str, Wanted] = {
    "step of the supervisor": lambda one: one.text in _STEPS,
    "partition taken over": lambda one: one.text == TAKE_OVER,
    "submission": lambda one: one.text in _SUBMISSIONS and any(topic in one.bound for topic in _JUDGED),
}
COMMITS_OF_READERS: Mapping[str, Wanted] = {
    "batch of the projector": lambda one: one.text.startswith("WITH standing AS MATERIALIZED"),
    "transaction of several statements": lambda one: one.text == "COMMIT;" and not one.reads_only,
}
COMMITS = {**COMMITS_OF_THE_LOG, **COMMITS_OF_READERS}


def cut_all(proxy: PostgresProxy, log: str, times: int) -> dict[str, Trap]:
    """Leave so many commits of each kind without their answer; those of the log where it is on Postgres."""
    kinds = COMMITS if log == "postgres" else COMMITS_OF_READERS
    return {name: proxy.cut(wanted, times) for name, wanted in kinds.items()}
