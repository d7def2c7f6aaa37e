"""`python -m events.publish` writes the documents; with `--check` it says which differ from the code."""

import argparse
import sys
from pathlib import Path

from events.publish.documents import differing, documents, write


def main(arguments: list[str] | None = None) -> int:
    """0: the documents are as the code has them; 1: with `--check`, some are not."""
    parser = argparse.ArgumentParser(prog="python -m events.publish", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail where a document differs")
    parser.add_argument("--docs", type=Path, default=Path("docs"), help="the folder (default: docs)")
    options = parser.parse_args(arguments)
    stale = differing(options.docs, documents())
    if not options.check:
        write(options.docs, documents())
        return 0
    for path in stale:
        print(f"differs from the code: {path} (python -m events.publish)", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
