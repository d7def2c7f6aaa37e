"""What a harness says of the world that it has made: where the checker of the invariants has to look."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class World:
    """A world whose faults have stopped and whose services have ended, while its servers still run.

    `log_url` and `database_url` lead to the servers that the services had (`kafka://host:port` or
    `postgresql://…`), with `partitions` and `topic_prefix`; `homes` are the folders AUTOPACK_HOME of the services,
    `artifacts` a URL as fsspec takes it.

    `protected` holds, for each of the `repositories`, its refs as they stood before the first run, name to commit.
    `acknowledged` are submissions of which the emitter was told that the log has taken them: topic, partition,
    offset, event id; partition and offset are -1 where it was told over HTTP, which does not name them.

    `agent_starts` is a folder with one file `*.json` for each start of a command agent: an object with `role`,
    `run_id`, `phase_id`, `attempt` and `at`, the time in ISO 8601, and where it is known `folder`, in which it
    worked. `marker` is the name of an environment
    variable, of no other world's, that every process of this world carries, the servers aside.

    `left` is what was left too much when the services had just ended, before anything was collected; `killed`
    names the service of each process that was killed, whoever did it, `stopped` those of which one was stopped in
    its tracks.
    """

    log_url: str
    database_url: str
    homes: Sequence[Path]
    run_files: Path
    artifacts: str
    repositories: Sequence[Path]
    protected: Mapping[Path, Mapping[str, str]]
    agent_starts: Path
    marker: str
    partitions: int = 8
    topic_prefix: str = ""
    acknowledged: list[tuple[str, int, int, str]] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    killed: list[str] = field(default_factory=list)
    stopped: list[str] = field(default_factory=list)
