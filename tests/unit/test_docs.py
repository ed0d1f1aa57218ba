"""The documentation agrees with the code: options, file names, code blocks."""

import ast
import re
import subprocess
from collections.abc import Iterator
from inspect import signature
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import pytest
import yaml
from annotated_types import Ge, Le
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from flows.prepare import prepare

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
PAGES = sorted(
    page
    for pattern in ("*.md", "docs/**/*.md", "deployments/**/*.md")
    for page in ROOT.glob(pattern)
    if page.name != "CHANGELOG.md"
)
START, END = "<!-- options: checked by tests/unit/test_docs.py -->\n", "<!-- end of options -->"
SUFFIXES = "py|md|sh|yaml|yml|toml|png|service|cff"


def blocks(page: Path, language: str) -> list[str]:
    """Return the code blocks of a page in a language, without indentation in a list."""
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```$", page.read_text(), re.DOTALL | re.MULTILINE)
    return [re.sub(rf"^{indent}", "", code, flags=re.MULTILINE) for indent, code in found]


def cases(language: str) -> list[Any]:
    return [
        pytest.param(code, id=f"{page.relative_to(ROOT)}-{i}")
        for page in PAGES
        for i, code in enumerate(blocks(page, language))
    ]


def values(annotation: Any, metadata: list[Any]) -> str:
    """Return the values that an option takes."""
    while get_origin(annotation) is Annotated:
        annotation, *more = get_args(annotation)
        metadata = [*metadata, *more]
    if get_origin(annotation) is Literal:
        return ", ".join(get_args(annotation))
    if get_origin(annotation) is tuple:
        return ", ".join(dict.fromkeys(values(one, []) for one in get_args(annotation) if one is not ...))
    metadata = [part for one in metadata for part in (one.metadata if isinstance(one, FieldInfo) else [one])]
    least = next((one.ge for one in metadata if isinstance(one, Ge)), None)
    most = next((one.le for one in metadata if isinstance(one, Le)), None)
    kind = {str: "text", int: "whole number", float: "number"}[annotation]
    if most is not None:
        return f"{least} to {most}"
    return kind if least is None else f"{kind}, {least} or more"


def rows() -> Iterator[tuple[str, str, str, str, str]]:
    """Yield command line, name in Python and the form, title, values and default of each option."""
    for name, parameter in signature(prepare.fn).parameters.items():
        default = parameter.default
        if isinstance(default, BaseModel):
            for field, info in type(default).model_fields.items():
                shown = values(info.annotation, info.metadata)
                yield f"--{field}", f"{name}.{field}", str(info.title), shown, _text(info.default)
        else:
            (info,) = (one for one in get_args(parameter.annotation) if isinstance(one, FieldInfo))
            title = info.json_schema_extra["title"]  # type: ignore[index, call-overload]
            option = name.upper() if name == "destination" else f"--{name}"
            yield option, name, title, values(parameter.annotation, []), _text(default)


def _text(default: object) -> str:
    return " ".join(map(str, default)) if isinstance(default, tuple) else str(default)


def table() -> str:
    head = ("command line", "Python and form", "title in the form", "values", "default")
    lines = [head, ("---",) * len(head)]
    for option, name, title, allowed, default in rows():
        shown = f"`{default}`" if default else "empty"
        lines.append((f"`{option.replace('_', '-')}`", f"`{name}`", title, allowed, shown))
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def test_the_table_of_options_is_that_of_the_flow() -> None:
    found = README.read_text().partition(START)[2].partition(END)[0].strip("\n") + "\n"
    assert found == table(), f"The table has to be:\n{table()}"


@pytest.mark.parametrize("code", cases("python"))
def test_python_blocks_parse(code: str) -> None:
    ast.parse(code)


@pytest.mark.parametrize("code", cases("sh"))
def test_shell_blocks_parse(code: str) -> None:
    subprocess.run(("bash", "-n"), input=code, text=True, check=True)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_named_files_exist(page: Path) -> None:
    text = re.sub(r"https?://\S+", "", page.read_text())
    for name in set(re.findall(rf"(?<![\w/~.$*<-])(?:[\w.-]+/)*[\w-]+\.(?:{SUFFIXES})\b(?!\.)", text)):
        if name in PUBLISHED:
            continue
        there = (page.parent / name).exists() or (ROOT / name).exists()
        assert there or ("/" not in name and any(ROOT.glob(f"[a-z]*/**/{name}"))), f"there is no {name}"


PUBLISHED = {"preview.png", "<patch_id>.png", "_mask.png"}
"""Files of a dataset, which look like files of the project."""


def test_named_deployments_exist() -> None:
    deployments = {one["name"] for one in yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]}
    section = README.read_text().partition("| deployment | what it does |")[2].partition("\n\n")[0]
    assert set(re.findall(r"^\| `([a-z-]+)` \|", section, re.MULTILINE)) == deployments
