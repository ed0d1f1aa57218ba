import logging
import os
import stat
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from bigearthnet.dataset.links import Link, early_end, links_as_markdown, links_path, saved_as, write_links
from bigearthnet.errors import StoreError

URL = "s3://bucket/data"
NOON = datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
TEMPORARY = "&X-Amz-Security-Token=t0ken"


def link(more: str = "") -> Link:
    return Link("x", f"https://host/x?X-Amz-Expires=3600&X-Amz-Signature=5ec2e7{more}")


def test_a_link_shows_its_secret_to_no_log() -> None:
    assert "5ec2e7" in link().url
    assert "5ec2e7" not in f"{link()} {link()!r} {[link()]}"


@pytest.mark.parametrize(
    ("more", "credentials_end", "warning"),
    [
        ("", None, ""),
        (TEMPORARY, NOON + HOUR, ""),
        (TEMPORARY, NOON + HOUR / 3, "end at 2026-01-31 12:20:00 UTC, and end with them, not at"),
        (TEMPORARY, None, "do not say when they end. The links end with them, which may be before 2026"),
    ],
)
def test_links_end_with_their_credentials(more: str, credentials_end: datetime | None, warning: str) -> None:
    found = early_end([link(), link(more)], NOON + HOUR, credentials_end)
    assert warning in found
    assert bool(warning) == bool(found)
    assert "t0ken" not in found


def test_several_files_are_saved_under_names_of_their_own() -> None:
    assert saved_as("a/x.zip", ["a/x.zip"], "alps.zip") == "alps.zip"
    assert saved_as("a/x.zip", ["a/x.zip", "b"], "alps") == "alps-a-x.zip"
    assert saved_as("a/x.zip", ["a/x.zip", "b"], "") == ""


def test_the_file_of_links_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "deep/er/links.txt"
    write_links(path, URL, [link()], NOON)
    path.chmod(0o644)
    new = link("&new")
    with path.open() as reader:
        write_links(path, URL, [new], NOON)
        assert new.url not in reader.read(), "the old file must not show the new links"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    lines = path.read_text().splitlines()
    assert [line for line in lines if line and not line.startswith("#")] == [new.url]
    assert lines[0] == "# Links to files of s3://bucket/data. They end at 2026-01-31 12:00:00 UTC."
    assert [entry.name for entry in path.parent.iterdir()] == ["links.txt"]


def test_another_file_is_not_replaced_by_links(tmp_path: Path) -> None:
    (tmp_path / "diary.txt").write_text("today")
    with pytest.raises(StoreError, match=r"diary.txt: it is another file\. Name a new one"):
        write_links(tmp_path / "diary.txt", URL, [link()], NOON)
    assert (tmp_path / "diary.txt").read_text() == "today"
    os.mkfifo(tmp_path / "pipe")
    with (tmp_path / "archive").open("wb") as large:
        large.truncate(1 << 40)
    for name in ("pipe", "archive"):
        with pytest.raises(StoreError, match="it is another file"):
            write_links(tmp_path / name, URL, [link()], NOON)


@pytest.mark.timeout(30)
def test_pipes_and_devices_are_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(StoreError, match="it is another file"):
            write_links(path, URL, [link()], NOON)


def test_links_that_cannot_be_written_are_not_shown(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    with (
        caplog.at_level(logging.DEBUG),
        pytest.raises(StoreError, match=r"cannot write the links to .*/file/links\.txt: ") as caught,
    ):
        write_links(tmp_path / "file/links.txt", URL, [link()], NOON)
    assert "5ec2e7" not in str(caught.value) + caplog.text


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "s3://bucket/links.txt", "~", "~nosuchuser/x", "$HOME/x", " ~/x", "'/x'", "x\0"),
        "https://me:SE/CRET@host/x",
    ],
)
def test_what_is_no_file_is_refused(text: str) -> None:
    message = r"cannot write links to .* Name a file, such as ~/links\.txt"
    with pytest.raises(StoreError, match=message) as caught:
        links_path(text)
    assert "CRET" not in str(caught.value)


def test_a_file_is_found_below_the_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert links_path("~/links.txt") == tmp_path / "links.txt"


def test_markdown_has_each_link_under_its_name() -> None:
    text = links_as_markdown(URL, [link()], NOON)
    assert f"- [x]({link().url})" in text.splitlines()
    bad = replace(link(), name="x](http://a)<img>")
    assert "- [x\\](http://a)&#60;img&#62;](" in links_as_markdown(URL, [bad], NOON)
    assert "until 2026-01-31 12:00:00 UTC" in text
