"""The published documents, as texts by their path in the folder of documents."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from events.publish.asyncapi import asyncapi
from events.publish.catalogue import catalogue
from events.publish.schemas import older_versions, schemas

SCHEMAS = "schemas"


def documents() -> dict[str, str]:
    """Every document; equal code gives equal bytes."""
    return {
        **{f"{SCHEMAS}/{name}": _json(schema) for name, schema in schemas().items()},
        "asyncapi.json": _json(asyncapi()),
        "events.md": catalogue(),
    }


def differing(folder: Path, wanted: Mapping[str, str]) -> list[Path]:
    """The documents in a folder that are missing, differ, or should not be there."""
    stale = [folder / name for name, text in wanted.items() if _text(folder / name) != text]
    known = {folder / name for name in wanted} | {folder / SCHEMAS / name for name in older_versions()}
    return sorted([*stale, *(p for p in (folder / SCHEMAS).glob("*.json") if p not in known)])


def write(folder: Path, wanted: Mapping[str, str]) -> None:
    """Write what differs, and remove schemas of which the code knows nothing."""
    for path in differing(folder, wanted):
        name = path.relative_to(folder).as_posix()
        if name not in wanted:
            path.unlink()
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(wanted[name], encoding="utf-8")


def _text(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.exists() else None


def _json(document: Any) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"
