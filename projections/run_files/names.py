"""Names of files and folders, whatever a plan calls its tiers."""

import unicodedata
from pathlib import Path

LONGEST_BYTES = 120
_PROJECTS = "_projects"


def file_name(text: str) -> str:
    """A part of a path that stays in its folder: no separators, no blanks, nothing that cannot be seen."""
    kept = "".join(char if _is_plain(char) else "_" for char in unicodedata.normalize("NFC", text))
    cut = kept.encode()[:LONGEST_BYTES].decode("utf-8", "ignore")
    return cut if cut.strip(".") else f"_{cut.replace('.', '_')}"


def _is_plain(char: str) -> bool:
    """Letters, marks, digits and a few signs; the first version turned blanks and slashes into `_`."""
    return char in "._-+@()," or unicodedata.category(char)[0] in "LMN"


def tier_file(index: int, name: str) -> str:
    """The path of a tier's page within its run's folder."""
    return f"tiers/tier_{index:02d}_{file_name(name)}.md"


def phase_file(index: int, phase_id: str) -> str:
    """The path of a phase's page within its run's folder."""
    return f"phases/phase_{index:02d}_{file_name(phase_id)}.md"


def patch_file(phase_id: str) -> str:
    """The path of a phase's patch within its run's folder."""
    return f"patch_{file_name(phase_id)}.diff"


def run_folder(root: Path, default_project: str, project: str, run_id: str) -> Path:
    """The folder of a run."""
    if project == default_project:
        return root / file_name(run_id)
    return root / _PROJECTS / file_name(project) / file_name(run_id)
