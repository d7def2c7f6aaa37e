"""Names that a file system takes for something else than git does.

Windows drops dots and spaces at the end of a name, knows short names (`git~1`) and streams
(`.git::$INDEX_ALLOCATION`); HFS+ leaves out code points without a shape; both fold case.
"""

import re
import unicodedata

_LONGEST_PATH = 4096
_SHORT_NAME = re.compile(r"git~\d+")
_SHORT_MODULES_NAME = re.compile(r"gitmod~\d+|gi7eba~\d+")


def folded(text: str) -> str:
    """Text as a forgiving file system compares it: casefold, and one Unicode form (NFC).

    Paths longer than any file system takes keep their form: many accents take the square of their number.
    """
    if len(text) > _LONGEST_PATH:
        return text.casefold()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())


def plain_name(component: bytes) -> str:
    """One component of a path with every disguise taken off."""
    text = component.decode("utf-8", "replace")
    shaped = "".join(character for character in text if not _is_ignorable(character))
    return folded(shaped).split(":")[0].rstrip(". ")


def is_git_directory_name(component: bytes) -> bool:
    """Whether a component is `.git` to some file system."""
    name = plain_name(component)
    return name == ".git" or _SHORT_NAME.fullmatch(name) is not None


def is_modules_file_name(component: bytes) -> bool:
    """Whether a component is `.gitmodules` to some file system."""
    name = plain_name(component)
    return name == ".gitmodules" or _SHORT_MODULES_NAME.fullmatch(name) is not None


def shown(path: bytes) -> str:
    """A path for people: every character that is not plainly visible is escaped."""
    text = path.decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() and not _is_ignorable(c) else _escape(c) for c in text)


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode()


def _is_ignorable(character: str) -> bool:
    return unicodedata.category(character) == "Cf" or "\ufe00" <= character <= "\ufe0f"
