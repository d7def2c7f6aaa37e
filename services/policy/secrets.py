"""Shapes of well-known secrets, and a look at how random they are, so that examples pass."""

import math
import re
from collections import Counter
from dataclasses import dataclass

_WINDOW_CHARACTERS = 20_000
_OVERLAP_CHARACTERS = 1_000
_PLACEHOLDER = re.compile(
    r"(?i)example|sample|dummy|placeholder|changeme|redacted|your[_-]|xxxx|\*\*\*|\.\.\.|<|\$\{|\{\{"
)


@dataclass(frozen=True, slots=True)
class Shape:
    """A kind of secret: its name for people, its pattern, the least entropy (bits a character)."""

    kind: str
    pattern: re.Pattern[str]
    least_entropy: float


def _shape(kind: str, pattern: str, least_entropy: float = 3.0) -> Shape:
    return Shape(kind, re.compile(pattern), least_entropy)


# Each is linear in the length of a line: no part that repeats without a bound begins at many places.
SHAPES = (
    _shape("a private key", r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----", 0.0),
    _shape("an AWS access key", r"(?<![A-Z0-9])(?:AKIA|ASIA)[A-Z0-9]{16}(?![A-Z0-9])"),
    _shape("a GitHub token", r"(?<!\w)gh[pousr]_[A-Za-z0-9]{36,}"),
    _shape("a GitHub token", r"(?<!\w)github_pat_[A-Za-z0-9_]{40,}"),
    _shape("a GitLab token", r"(?<!\w)gl(?:pat|dt|rt|ptt|cbt)-[A-Za-z0-9_-]{20,}"),
    _shape("a Slack token", r"(?<!\w)xox[abeoprs]-[A-Za-z0-9-]{20,}"),
    _shape("a Slack webhook", r"hooks\.slack\.com/services/T[A-Za-z0-9]{6,}/B[A-Za-z0-9]{6,}/[A-Za-z0-9]{20,}"),
    _shape("a payment key", r"(?<!\w)(?:sk|rk)_live_[A-Za-z0-9]{20,}"),
    _shape("a Google API key", r"(?<!\w)AIza[A-Za-z0-9_-]{35}(?![A-Za-z0-9_-])"),
    _shape("a model provider's key", r"(?<!\w)sk-(?:ant-|proj-|svcacct-|or-)?[A-Za-z0-9_-]{32,}", 3.6),
    _shape("an npm token", r"(?<!\w)npm_[A-Za-z0-9]{36}(?!\w)"),
    _shape("a PyPI token", r"(?<!\w)pypi-[A-Za-z0-9_-]{50,}"),
    _shape("a SendGrid key", r"(?<!\w)SG\.[A-Za-z0-9_-]{20,}\.[A-Za-z0-9_-]{40,}"),
    _shape("a Hugging Face token", r"(?<!\w)hf_[A-Za-z0-9]{34,}(?!\w)"),
    _shape("an Azure storage key", r"AccountKey=[A-Za-z0-9+/]{80,}={0,2}"),
    _shape(
        "a secret in an assignment",
        r"(?i)(?:secret|token|passwd|password|api_?key|private_?key)\w{0,60}+[\"']?\s{0,40}+[:=]\s{0,40}+"
        r"[\"'][A-Za-z0-9+/_=-]{24,}[\"']",
        4.2,
    ),
)


def secret_in(line: str) -> str | None:
    """What kind of secret a line holds, if any; the secret itself is not given back.

    A search in a window ends soon, and others get their turn: one that runs holds the interpreter.
    """
    for start in range(0, max(1, len(line) - _OVERLAP_CHARACTERS), _WINDOW_CHARACTERS - _OVERLAP_CHARACTERS):
        kind = _secret_in_window(line[start : start + _WINDOW_CHARACTERS])
        if kind is not None:
            return kind
    return None


def _secret_in_window(text: str) -> str | None:
    for shape in SHAPES:
        for found in shape.pattern.finditer(text):
            secret = found.group()
            if not _PLACEHOLDER.search(secret) and entropy(_body(secret)) >= shape.least_entropy:
                return shape.kind
    return None


def entropy(text: str) -> float:
    """Shannon's entropy in bits a character."""
    counts = Counter(text)
    return -sum(count / len(text) * math.log2(count / len(text)) for count in counts.values()) if text else 0.0


def _body(text: str) -> str:
    """The random part: what stands last in quotes, or else everything."""
    quoted = re.findall(r"[\"']([^\"']{24,})[\"']", text)
    return quoted[-1] if quoted else text
