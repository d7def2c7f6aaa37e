"""Functions and modules stay small enough to be read at once."""

import ast
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median

ROOT = Path(__file__).parents[2]
PACKAGES = ("events", "projections", "services")
EVERYWHERE = (*PACKAGES, "examples", "tests")
LONGEST_FUNCTION_LINES = 70
MEDIAN_FUNCTION_LINES = 10
LONGEST_MODULE_LINES = 400


def modules(folders: Sequence[str] = EVERYWHERE) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def function_sizes(module: Path) -> Iterator[tuple[str, int]]:
    """Each function's place and its lines, from `def` to its end, docstring included."""
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            place = f"{module.relative_to(ROOT)}:{node.lineno} {node.name}"
            yield place, node.end_lineno - node.lineno + 1


def all_function_sizes(folders: Sequence[str] = EVERYWHERE) -> dict[str, int]:
    return {place: size for module in modules(folders) for place, size in function_sizes(module)}


def test_no_function_is_longer_than_70_lines() -> None:
    assert {place: size for place, size in all_function_sizes().items() if size > LONGEST_FUNCTION_LINES} == {}


def test_the_median_function_has_fewer_than_10_lines() -> None:
    assert median(all_function_sizes(PACKAGES).values()) < MEDIAN_FUNCTION_LINES


def test_no_module_is_longer_than_400_lines() -> None:
    sizes = {module: len(module.read_text(encoding="utf-8").splitlines()) for module in modules()}
    assert {str(module): size for module, size in sizes.items() if size > LONGEST_MODULE_LINES} == {}


def test_a_long_function_would_be_found(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(f"{__name__}.ROOT", tmp_path)
    module = tmp_path / "long.py"
    module.write_text("async def long():\n" + "    pass\n" * 80)
    assert list(function_sizes(module)) == [("long.py:1 long", 81)]
