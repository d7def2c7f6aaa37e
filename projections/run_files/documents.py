"""Which files a run has, and what each is made of."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256

from msgspec import Struct
from msgspec.json import encode

from projections.attempts import AttemptRow
from projections.phases import PhaseRow
from projections.run_files.incident import FOLDER, incident_page, logs
from projections.run_files.names import patch_file, phase_file, tier_file
from projections.run_files.pages import phase_page, run_page, tier_page
from projections.run_files.story import Story
from projections.run_files.strategy import strategy_file

EVENTS_FILE = f"{FOLDER}/events.ndjson"


@dataclass(frozen=True, slots=True)
class Text:
    """A file whose content is known."""

    content: bytes

    @property
    def stamp(self) -> str:
        """Changes with the content."""
        return sha256(self.content).hexdigest()


@dataclass(frozen=True, slots=True)
class Page:
    """A page that is made from rows and numbers, and only when `stamp` differs.

    To make one that `is_long` takes its time.
    """

    rows: Sequence[Struct | int]
    make: Callable[[], str]
    is_long: bool = False

    @property
    def stamp(self) -> str:
        """Changes with the rows and numbers."""
        return sha256(encode(self.rows)).hexdigest()

    def content(self) -> bytes:
        """The page itself."""
        return _encoded(self.make())


@dataclass(frozen=True, slots=True)
class Blobs:
    """A file made of blobs, one after another; it is fetched only when `stamp` differs."""

    digests: tuple[str, ...]

    @property
    def stamp(self) -> str:
        """Changes with the blobs."""
        return " ".join(self.digests)


@dataclass(frozen=True, slots=True)
class Records:
    """The exact records of the run, a line each, up to a sequence."""

    partition: int
    offsets: tuple[int, ...]

    @property
    def stamp(self) -> str:
        """Changes when events are added."""
        return f"{self.partition}:{self.offsets[-1] if self.offsets else ''}"


Content = Text | Page | Blobs | Records


def documents(story: Story) -> Mapping[str, Content]:
    """The files of a run, by their paths in its folder."""
    view = story.view
    texts = {"run_summary.md": run_page(view)}
    texts |= {tier_file(tier.tier_index, tier.name): tier_page(view, tier) for tier in view.tiers}
    if view.run.strategy is not None:
        texts["project_implementation_strategy_v1.json"] = strategy_file(view)
    return {
        **{path: Text(_encoded(text)) for path, text in texts.items()},
        **_phases(story),
        **_patches(story),
        **(_incident(story) if story.has_failed else {}),
    }


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "replace")


def _phases(story: Story) -> Mapping[str, Content]:
    """Of many phases few change at a time."""
    asked = story.attempts_by_phase()
    return {
        phase_file(phase.phase_index, phase.phase_id): _phase(
            phase, story.view.attempts_at(phase), asked.get(phase.phase_id, ())
        )
        for phase in story.view.phases
    }


def _phase(phase: PhaseRow, builds: int, attempts: Sequence[AttemptRow]) -> Page:
    return Page((phase, builds, *attempts), partial(phase_page, phase, builds, attempts))


def _patches(story: Story) -> Mapping[str, Content]:
    """The patches of each phase's latest attempt that has any, in the order in which they apply."""
    return {
        patch_file(phase.phase_id): Blobs(tuple(patch["digest"] for patch in phase.patches))
        for phase in story.view.phases
        if phase.patches
    }


def _incident(story: Story) -> Mapping[str, Content]:
    offsets = tuple(event.log_offset for event in story.events)
    return {
        # Each event of a run changes the run's row.
        f"{FOLDER}/incident.md": Page((story.view.run,), partial(incident_page, story), is_long=True),
        EVENTS_FILE: Records(story.view.run.partition, offsets),
        **{name: Blobs((attempt.log["digest"],)) for name, attempt in logs(story) if attempt.log},
    }
