"""The documentation agrees with the code: options, file names, code blocks."""

import ast
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect.utilities.callables import parameter_schema

from campaign.registry import registered
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


def values(schema: dict[str, Any]) -> str:
    """Return the values that an option takes, or each of several."""
    (schema,) = schema.get("prefixItems", [schema.get("items", schema)])[:1]
    if "enum" in schema:
        return ", ".join(schema["enum"])
    if "maximum" in schema:
        return f"{schema['minimum']} to {schema['maximum']}"
    kinds = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true, false"}
    kind = kinds[schema["type"]]
    return f"{kind}, {schema['minimum']} or more" if "minimum" in schema else kind


def table() -> str:
    """Return the options of prepare as its form has them."""
    form = parameter_schema(prepare)
    fields: dict[str, dict[str, Any]] = {}
    for name, schema in form.properties.items():
        model = form.definitions.get(schema.get("$ref", "").rpartition("/")[2])
        inner = model["properties"] if model else {}
        fields |= {f"{name}.{one}": found for one, found in inner.items()} or {name: schema}
    head = ("command line", "Python and form", "title in the form", "values", "default")
    lines = [head, ("---",) * len(head)]
    for name, schema in fields.items():
        default = schema["default"]
        shown = " ".join(map(str, default)) if isinstance(default, list) else str(default)
        shown = shown.lower() if isinstance(default, bool) else shown
        option = f"--{name.rpartition('.')[2]}".replace("_", "-")
        command = "DESTINATION" if name == "destination" else option
        shown = f"`{shown}`" if shown else "empty"
        lines.append((f"`{command}`", f"`{name}`", schema["title"], values(schema), shown))
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def test_the_table_of_options_is_that_of_the_flow() -> None:
    found = README.read_text().partition(START)[2].partition(END)[0].strip("\n") + "\n"
    assert found == table(), f"The table has to be:\n{table()}"


@pytest.mark.parametrize("code", cases("python"))
def test_python_blocks_parse(code: str) -> None:
    ast.parse(code)


@pytest.mark.parametrize("code", [*cases("python"), *cases("sh")])
def test_prefect_gets_its_login_before_it_is_imported(code: str) -> None:
    """Otherwise the server that Prefect starts lets every user of the machine in."""
    imported = re.search(r"^(from|import) (flows|tasks|prefect)", code, re.MULTILINE)
    assert not imported or "settings.apply()" in code[: imported.start()]
    if re.search(r"bin/prefect ", code):
        assert {"PREFECT_API_URL=", "PREFECT_API_AUTH_STRING="} <= set(re.findall(r"PREFECT_\w+=", code))


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


PUBLISHED = {
    *("preview.png", "preview.html", "quality.png"),
    *("<patch_id>.png", "_mask.png", "image.png", "mask.png"),
}
"""Files of a dataset, which look like files of the project."""


def test_named_deployments_exist() -> None:
    deployments = {one["name"] for one in yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]}
    section = README.read_text().partition("| deployment | what it does |")[2].partition("\n\n")[0]
    assert set(re.findall(r"^\| `([a-z-]+)` \|", section, re.MULTILINE)) == deployments


def test_the_kinds_of_the_fault_campaign_are_listed() -> None:
    page = (ROOT / "docs" / "reliability.md").read_text()
    rows = page.partition("| kind | fault |")[2].partition("\n\n")[0].splitlines()[2:]
    first_cells = [row.split("|")[1] for row in rows]
    assert sorted(re.findall("`(.+?)`", " ".join(first_cells))) == sorted(registered())
