"""JSON as people and programs send it: no key twice in an object, and each fault with its place."""

import json
import re
from collections.abc import Iterator
from typing import Any

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s{}\[\],:"]+')
LONGEST_KEY = 100


class RepeatedKey(json.JSONDecodeError):
    """An object has a key twice; `location` is that of the second, from the top of the document down."""

    def __init__(self, text: str, position: int, location: tuple[str | int, ...]) -> None:
        super().__init__(f"the key {str(location[-1])[:LONGEST_KEY]!r} is given twice", text, position)
        self.location = location


def load_json(text: str) -> Any:
    """The value of a text. Raises json.JSONDecodeError with the place of the fault, ValueError, RecursionError."""
    try:
        return json.loads(text, object_pairs_hook=_unique)
    except _NotUnique as error:
        raise next(_repeated_keys(text)) from error


class _NotUnique(Exception):
    """Some object has a key twice: the parser does not say where."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _NotUnique
    return found


def _repeated_keys(text: str) -> Iterator[RepeatedKey]:
    """The keys that are there a second time, in a text whose syntax is right up to the first of them."""
    keys: list[set[str] | None] = []
    location: list[str | int] = []
    is_key = False
    for token in _TOKEN.finditer(text):
        match token[0]:
            case "{" | "[":
                is_key = token[0] == "{"
                keys.append(set() if is_key else None)
                location.append("" if is_key else 0)
            case "}" | "]":
                keys.pop()
                location.pop()
                is_key = False
            case ",":
                is_key = keys[-1] is not None
                if not is_key:
                    location[-1] = int(location[-1]) + 1
            case ":":
                is_key = False
            case written if is_key and (known := keys[-1]) is not None:
                location[-1] = key = str(json.loads(written, strict=False))
                if key in known:
                    yield RepeatedKey(text, token.start(), tuple(location))
                known.add(key)
