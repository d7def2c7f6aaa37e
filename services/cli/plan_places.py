"""On which line of a plan file something stands."""

import re
from collections.abc import Callable

import yaml

Location = tuple[str | int, ...]
LineFinder = Callable[[Location], int | None]

_TABLE = re.compile(r"^\s*\[\[\s*([A-Za-z_]+)\s*\]\]")
_OTHER_TABLE = re.compile(r"^\s*\[")
_KEY = re.compile(r"^\s*([A-Za-z0-9_-]+)\s*=")


def lines_of_yaml(text: str) -> LineFinder:
    """Places in YAML, and in JSON, which YAML takes for its own; unknown where it does not."""
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, ValueError, RecursionError):
        root = None

    def find(location: Location) -> int | None:
        node, line = root, None
        for part in location:
            node, line = _step(node, part, line)
        return line

    return find


def _step(node: yaml.Node | None, part: str | int, line: int | None) -> tuple[yaml.Node | None, int | None]:
    """The node below, and the line that it begins on; the line above stays where there is none."""
    match node:
        case yaml.MappingNode():
            for key, value in node.value:
                if key.value == part:
                    return value, key.start_mark.line + 1
        case yaml.SequenceNode() if isinstance(part, int) and part < len(node.value):
            return node.value[part], node.value[part].start_mark.line + 1
        case _:
            pass
    return None, line


def lines_of_tables(text: str) -> LineFinder:
    """Places in TOML written the usual way: `[[phases]]` one after another, keys at the start of a line."""
    lines: dict[Location, int] = {}
    current: Location = ()
    counts: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if found := _TABLE.match(line):
            name = found[1]
            current = (name, counts.setdefault(name, 0))
            counts[name] += 1
            lines[current] = number
        elif _OTHER_TABLE.match(line):
            current = (line.strip(" []"),)
            lines.setdefault(current, number)
        elif found := _KEY.match(line):
            lines.setdefault((*current, found[1]), number)

    def find(location: Location) -> int | None:
        for length in range(len(location), 0, -1):
            if location[:length] in lines:
                return lines[location[:length]]
        return None

    return find
