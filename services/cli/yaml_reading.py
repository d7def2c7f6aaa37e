"""YAML as plans are written in it: no key twice, and no more than its text holds by way of merged keys."""

from typing import Any

import yaml

MOST_MERGED = 10_000
"""Keys that `<<` may bring into one mapping: merges of merges multiply, and would never come to an end."""


def load_yaml(text: str) -> Any:
    """The one document of a text. Raises yaml.YAMLError, RecursionError, and ValueError for what no type takes."""
    # It makes plain values alone, as SafeLoader does.
    return yaml.load(text, Loader=_Loader)


class _Loader(yaml.SafeLoader):
    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._as_written: set[yaml.MappingNode] = set()

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Merge keys in, of a mapping that has each of its own once. It may be asked of one again and again."""
        if node not in self._as_written:
            self._as_written.add(node)
            _demand_unique(node)
        super().flatten_mapping(node)
        if len(node.value) > MOST_MERGED:
            raise _at(node, f"more than {MOST_MERGED} keys, merged ones among them")


def _demand_unique(node: yaml.MappingNode) -> None:
    seen = set()
    for key, _ in node.value:
        if isinstance(key, yaml.ScalarNode):
            if (key.tag, key.value) in seen:
                raise _at(key, f"the key {key.value!r} is given twice")
            seen.add((key.tag, key.value))


def _at(node: yaml.Node, problem: str) -> yaml.MarkedYAMLError:
    return yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
