"""Binary files: no line of them can be shown, so they are looked through whole; and no text may become one."""

from collections.abc import Iterator

from services.policy.change import Blob, FileChange, ProposedChange
from services.policy.policy import Policy, Violation, violation
from services.policy.secrets import secret_in


def _suffixes(text: str) -> frozenset[str]:
    return frozenset(text.split())


_TEXT_SUFFIXES = _suffixes(
    """
    bash bat c cc cfg cjs clj cmake cmd conf cpp cs css cts csv dart env erl ex exs fs go gradle groovy h hpp
    hs htm html ini java jl js json jsonc json5 jsx kt kts less lua markdown md mjs mts php pl properties ps1
    py pyi r rb rs rst scala scss sh sql svelte svg swift tf toml ts tsx txt vue xml yaml yml zsh
    dockerfile gemfile gnumakefile jenkinsfile makefile rakefile
    """
)
_MEDIA_SUFFIXES = _suffixes(
    """
    avif bmp eot gif icns ico jpeg jpg mp3 mp4 oga ogg otf pdf png psd tif tiff ttf wav webm webp woff woff2
    """
)


def binary_secrets(change: ProposedChange, policy: Policy) -> Iterator[Violation]:
    """Keys and tokens in binary files, also where each character takes two bytes or four."""
    for file in change.files:
        kind = _secret_in(file.new)
        if kind is not None and kind != _secret_in(file.old):
            yield violation(
                "secret",
                file.path,
                f"The binary file holds {kind}.",
                "Take it out, and read it from the environment.",
            )


def text_made_binary(change: ProposedChange, policy: Policy) -> Iterator[Violation]:
    """A text by its name that counts as binary by its bytes: none of its lines would be judged."""
    for file in change.files:
        if _is_made_binary(file) and _suffix(file.path) in _TEXT_SUFFIXES:
            yield violation(
                "hidden_text", file.path, "By its NUL bytes this text counts as binary.", "Save it as UTF-8."
            )


def is_unusual_binary(file: FileChange) -> bool:
    """Whether a file becomes binary that is no picture, font, sound, film or document."""
    return _is_made_binary(file) and _suffix(file.path) not in _MEDIA_SUFFIXES


def _is_made_binary(file: FileChange) -> bool:
    is_binary = file.new is not None and file.new.known_binary
    return is_binary and (file.old is None or not file.old.binary)


def _secret_in(blob: Blob | None) -> str | None:
    if blob is None or blob.content is None or not blob.binary:
        return None
    # Without its NULs a text in UTF-16 or UTF-32 reads like one in ASCII.
    variants = (blob.content, blob.content.replace(b"\0", b""))
    return next((kind for content in variants if (kind := secret_in(content.decode("ascii", "replace")))), None)


def _suffix(path: bytes) -> str:
    """What follows the last dot of the name, or else the name."""
    return path.rsplit(b"/", 1)[-1].rsplit(b".", 1)[-1].decode("utf-8", "replace").lower()
