"""BIGEARTHNET_ROOTS: folders outside of which nothing can be named."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bigearthnet.dataset.links import links_path
from bigearthnet.errors import StoreError
from bigearthnet.work.workspace import Workspace, folder
from tasks.connect import open_destination, open_record, open_store


def open_below(text: str) -> Any:
    return open_destination(text, "", Workspace(Path("/nowhere")))


# The four kinds of what a person names: work folder, local source, destination, file for links.
KINDS: list[Callable[[str], Any]] = [
    folder,
    lambda text: open_record(text, ""),
    lambda text: open_store(text, ""),
    open_below,
    links_path,
]


@pytest.fixture
def tree(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Roots `data` and `more`, and links between them and `private`."""
    for name in ("data/in", "data-2", "more", "private"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "data/out").symlink_to(tmp_path / "private")
    (tmp_path / "private/in").symlink_to(tmp_path / "data/in")
    (tmp_path / "alias").symlink_to(tmp_path / "data")
    monkeypatch.setenv("BIGEARTHNET_ROOTS", f"{tmp_path}/alias:{tmp_path}/more:")
    monkeypatch.setenv("HOME", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path / "private")
    return tmp_path


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize(
    "text",
    [
        "/etc",
        "{}/private",
        "{}/data-2",
        "{}",
        "{}/data/../private",
        "{}/data/out",
        "{}/data/out/new",
        ".",
        "~/../private",
        "~root",
    ],
)
def test_what_leads_out_of_the_roots_is_refused(tree: Path, name: Callable[[str], Any], text: str) -> None:
    roots = rf"{tree}/data or {tree}/more"
    said = rf"^cannot use .*: BIGEARTHNET_ROOTS allows only what is below {roots}\. Choose a path there\.$"
    with pytest.raises(StoreError, match=said):
        name(text.format(tree))


@pytest.mark.parametrize(
    ("text", "found"),
    [("{}/data/in", "data/in"), ("{}/private/in", "data/in"), ("~/in", "data/in"), ("in", "data/in")],
)
def test_what_lies_in_a_root_is_used(tree: Path, text: str, found: str) -> None:
    for name in (folder, lambda text: open_record(text, "").folder, lambda text: open_store(text, "").folder):
        assert name(text.format(tree)) == tree / found
    assert links_path(f"{text.format(tree)}/links.txt") == tree / found / "links.txt"
    assert folder(f"{tree}/more/new") == tree / "more/new"


def test_a_file_of_links_that_is_a_link_is_followed_before_it_is_judged(tree: Path) -> None:
    (tree / "data/links.txt").symlink_to(tree / "private/links.txt")
    (tree / "private/links.txt").symlink_to(tree / "data/real.txt")
    assert links_path(f"{tree}/data/links.txt") == tree / "data/real.txt"
    (tree / "private/links.txt").unlink()
    with pytest.raises(StoreError, match="BIGEARTHNET_ROOTS"):
        links_path(f"{tree}/data/links.txt")


@pytest.mark.parametrize("roots", ["", ":", None])
def test_without_roots_there_is_no_limit(
    tree: Path, monkeypatch: pytest.MonkeyPatch, roots: str | None
) -> None:
    monkeypatch.delenv("BIGEARTHNET_ROOTS")
    if roots is not None:
        monkeypatch.setenv("BIGEARTHNET_ROOTS", roots)
    assert folder("/etc") == Path("/etc")
    assert links_path(f"{tree}/private/links.txt") == tree / "private/links.txt"
