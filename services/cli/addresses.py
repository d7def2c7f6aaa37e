"""Addresses as messages may show them: they may hold passwords, and messages are kept and sent around."""

import re


def shown_address(url: str) -> str:
    """An address without user, password and query; where it does not show what is which, its scheme alone.

    A password that nobody has quoted may hold whatever ends it elsewhere, and reach to the last `@` there is.
    """
    scheme, separator, rest = url.partition("://")
    if not separator:
        scheme, rest = "", url
    before, *behind = re.split("[?#]", rest, maxsplit=1)
    if any("@" in part for part in behind):
        return f"{scheme}{separator}…"
    return scheme + separator + before.rpartition("@")[2]
