"""The architecture that docs/architecture.md describes, read from the imports."""

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("bigearthnet", "tasks", "flows", "deployments", "benchmarks", "campaign", "tests")
LEVELS = (
    {"preflight"},
    {"dataset"},
    {"tile"},
    {"plan"},
    {"archive"},
    {"source"},
    {"work", "zips"},
    {"store"},
    {"sample", "classes", "names", "options", "errors", "progress"},
)
"""Packages and modules of bigearthnet: each may import its own level and those after it."""
S3 = ROOT / "bigearthnet" / "store" / "s3"
PRODUCTION = sorted(path for room in ROOMS[:4] for path in (ROOT / room).rglob("*.py"))


def imports(path: Path) -> Iterator[str]:
    """Yield the modules that a file imports, also inside of functions; `from a import b` as `a.b`."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def level(name: str) -> int:
    return next((i for i, names in enumerate(LEVELS) if name in names), len(LEVELS))


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).with_suffix("").parts[1]


@pytest.mark.parametrize(
    "path", [p for p in PRODUCTION if p.parts[len(ROOT.parts)] == "bigearthnet"], ids=str
)
def test_packages_of_bigearthnet_import_downwards(path: Path) -> None:
    modules = [module.split(".") for module in imports(path)]
    outside = {parts[0] for parts in modules} & {"prefect", "prefect_aws", *ROOMS[1:]}
    assert not outside, "bigearthnet runs without Prefect"
    if name_of(path) == "__init__":
        return
    upwards = {
        parts[1] for parts in modules if parts[0] == "bigearthnet" and level(parts[1]) < level(name_of(path))
    }
    assert not upwards


@pytest.mark.parametrize(("room", "above"), [("tasks", {"flows", "deployments"}), ("flows", {"deployments"})])
def test_flows_and_tasks_import_downwards(room: str, above: set[str]) -> None:
    for path in sorted((ROOT / room).rglob("*.py")):
        assert not {module.split(".")[0] for module in imports(path)} & above, path


def test_only_the_s3_store_imports_the_client_of_aws() -> None:
    importing = {p for p in PRODUCTION for m in imports(p) if m.split(".")[0] in ("boto3", "botocore")}
    assert importing
    assert all(path.is_relative_to(S3) for path in importing)


def test_no_file_name_occurs_more_than_twice() -> None:
    names = Counter(path.name for room in ROOMS for path in (ROOT / room).rglob("*.py"))
    del names["__init__.py"]
    assert {name: count for name, count in names.items() if count > 2} == {}
