"""`gc`: what nobody needs any more, removed at once and listed."""

from collections.abc import Iterator
from dataclasses import dataclass

from projections.database import lent
from projections.queries.retention import LIMIT_SECONDS, TablesBehind, open_runs
from projections.rebuild import expire_rejections
from services.artifacts import open_artifacts
from services.cli.failures import Unsuccessful
from services.cli.store import Store, opened_store
from services.collection.artifacts import ArtifactsCollected, StoreOfAnotherLog, collect_artifacts
from services.collection.home import CollectedElsewhere, HomeCollected, collect_home, collecting
from services.git.command import GitCommand
from services.settings import Settings

LOCK_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Collected:
    """What went, or would; `trouble` says why artifacts were left alone."""

    home: HomeCollected
    artifacts: ArtifactsCollected
    trouble: str | None

    def document(self, *, dry_run: bool) -> dict[str, object]:
        """As `--json` prints it."""
        return {
            "removed": [str(path) for path in self.home.paths],
            "references": list(self.home.references),
            "artifacts": self.artifacts.blobs,
            "artifact_bytes": self.artifacts.size_bytes,
            "answers": self.artifacts.results,
            "trouble": self.trouble,
            "dry_run": dry_run,
        }

    def lines(self, *, dry_run: bool) -> Iterator[str]:
        """For people."""
        verb = "would remove" if dry_run else "removed"
        gone = [*map(str, self.home.paths), *self.home.references]
        if self.artifacts.blobs:
            gone.append(f"{self.artifacts.blobs} artifacts of {self.artifacts.size_bytes:,} bytes")
        if self.artifacts.results:
            gone.append(f"{self.artifacts.results} kept answers of runs that have ended")
        yield from (f"{verb} {what}" for what in gone)
        if not gone:
            yield "Nothing was left over."


async def collect_now(settings: Settings, left_hours: float, *, dry_run: bool) -> Collected:
    """Collect from this home and from the artifact store. Raises Unsuccessful where another does so already."""
    async with opened_store(settings) as store:
        async with lent(store.pool, LIMIT_SECONDS) as connection:
            open_now = await open_runs(connection)
        try:
            async with collecting(settings.home_folder, LOCK_SECONDS):
                home = await collect_home(
                    settings.home_folder,
                    GitCommand(),
                    open_now,
                    unused_days=settings.unused_days,
                    left_hours=left_hours,
                    dry_run=dry_run,
                )
        except CollectedElsewhere as error:
            raise Unsuccessful("a service collects from this home just now: try again later") from error
        artifacts, trouble = await _artifacts(settings, store, dry_run)
        if not dry_run:
            await expire_rejections(store.pool, store.log)
        return Collected(home, artifacts, trouble)


async def _artifacts(settings: Settings, store: Store, dry_run: bool) -> tuple[ArtifactsCollected, str | None]:
    kept = open_artifacts(settings.artifacts_url)
    try:
        done = await collect_artifacts(kept, store.log, store.pool, settings.artifact_days, dry_run=dry_run)
    except (TablesBehind, StoreOfAnotherLog, TimeoutError) as error:
        return ArtifactsCollected(), str(error)
    return done, None
