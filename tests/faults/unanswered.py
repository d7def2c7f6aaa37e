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

COMMITS_OF_THE_LOG: Mapping[str, Wanted] = {
    "step of the supervisor": {APPEND_EVENTS, APPEND_EVENTS_OF_MANY, APPEND_STEP}.__contains__,
    "partition taken over": TAKE_OVER.__eq__,
    "submission": {SUBMIT, SUBMIT_TO_MANY}.__contains__,
}
COMMITS_OF_READERS: Mapping[str, Wanted] = {
    "batch of the projector": lambda text: text.startswith("WITH standing AS MATERIALIZED"),
    "transaction of several statements": "COMMIT;".__eq__,
}
COMMITS = {**COMMITS_OF_THE_LOG, **COMMITS_OF_READERS}


def cut_all(proxy: PostgresProxy, log: str, times: int) -> dict[str, Trap]:
    """Leave so many commits of each kind without their answer; those of the log where it is on Postgres."""
    kinds = COMMITS if log == "postgres" else COMMITS_OF_READERS
    return {name: proxy.cut(wanted, times) for name, wanted in kinds.items()}
