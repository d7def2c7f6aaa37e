"""Text that a reader does not see, sees in another order, or sees on another line than a program does."""

import re
import unicodedata
from collections.abc import Iterator

from services.policy.change import FileChange, Line, ProposedChange
from services.policy.policy import Policy, Violation, violation

# Escape sequences and the like: a terminal acts on them, and a reader sees nothing. A carriage return
# within a line is among them: to some programs a new line begins there.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_SEPARATORS = re.compile("[\u2028\u2029]")
_BIDIRECTIONAL = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_TAGS = re.compile("[\U000e0000-\U000e0fff]|[\ufe00-\ufe0f]{2,}")
_SELECTOR = re.compile("[\ufe00-\ufe0f]")
_KEYCAP = re.compile("[0-9#*]\ufe0f\u20e3")
# Joiners between visible characters outside ASCII belong to emoji and to some scripts.
_STRAY_JOINER = re.compile("(?<![^\x00-\x7f])[\u200c\u200d]|[\u200c\u200d](?![^\x00-\x7f])")
_JOINERS = frozenset("\u200c\u200d")
# Without a shape, though Unicode does not call them format characters: fillers, blanks, Mongolian selectors.
_BLANK = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180e\u180f\u2065\u2800\u3164\uffa0")
# Format characters that have a shape: signs of Arabic, Syriac and Kaithi that stand around numbers.
_VISIBLE_SIGNS = frozenset("\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd")


def hidden_text(change: ProposedChange, policy: Policy) -> Iterator[Violation]:
    """Added text that a reader does not see, or sees in another order."""
    for file in change.files:
        found = next(_hidden(file), None)
        if found is not None:
            number, kind = found
            yield violation(
                "hidden_text",
                file.path,
                f"A line holds {kind}.",
                "Write it as an escape, or leave it out.",
                number,
            )


def _hidden(file: FileChange) -> Iterator[tuple[int, str]]:
    for line in file.added:
        kind = _hidden_kind(_shown_part(line))
        if kind is not None:
            yield line.number, kind


def _shown_part(line: Line) -> str:
    """A line without what may stand at its ends: a mark of the encoding, a page break, the end of a line."""
    text = line.text.removesuffix("\r")
    if line.number == 1:
        text = text.removeprefix("\ufeff")
    return text.removeprefix("\f")


def _hidden_kind(text: str) -> str | None:
    if _CONTROL.search(text):
        return "control characters"
    if text.isascii():
        return None
    if _SEPARATORS.search(text):
        return "separators at which only some programs begin a new line"
    if _BIDIRECTIONAL.search(text):
        return "characters that turn the direction of text"
    if _TAGS.search(text) or _has_stray_selector(text):
        return "tag characters or variation selectors, which carry text that is not shown"
    if _STRAY_JOINER.search(text) or any(map(_is_shapeless, set(text))):
        return "characters without a shape"
    return None


def _has_stray_selector(text: str) -> bool:
    """Whether a variation selector stands elsewhere than behind a symbol, the only thing that it varies."""
    plain = _KEYCAP.sub("", text)
    places = (found.start() for found in _SELECTOR.finditer(plain))
    return any(place == 0 or not _varies(plain[place - 1]) for place in places)


def _varies(character: str) -> bool:
    """Whether there is an emoji of it: a symbol, or one of the few marks (and a letter, \u2139) that have one."""
    if character.isascii():
        return False
    return unicodedata.category(character)[0] in "SP" or character == "\u2139"


def _is_shapeless(character: str) -> bool:
    if character in _BLANK:
        return True
    return unicodedata.category(character) == "Cf" and character not in _JOINERS | _VISIBLE_SIGNS
