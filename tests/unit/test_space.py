import re
import shutil
from collections import namedtuple
from pathlib import Path

import pytest

from bigearthnet.errors import SpaceError
from bigearthnet.work.space import free_bytes, require_space, same_disk

Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def five_gib(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Path]:
    """A disk with 5 GiB free; which folders were looked at."""
    looked: list[Path] = []

    def disk_usage(path: Path) -> Usage:
        looked.append(Path(path))
        return Usage(10 << 30, 5 << 30, 5 << 30)

    monkeypatch.setattr(shutil, "disk_usage", disk_usage)
    return looked


def test_free_space_is_that_of_the_disk(tmp_path: Path) -> None:
    free = free_bytes(tmp_path)
    assert 0 < free <= shutil.disk_usage(tmp_path).total


def test_a_folder_that_is_not_there_yet_is_on_the_disk_of_its_parents(
    tmp_path: Path, five_gib: list[Path]
) -> None:
    assert free_bytes(tmp_path / "not" / "yet" / "there") == 5 << 30
    assert five_gib == [tmp_path]


def test_enough_is_enough(tmp_path: Path, five_gib: list[Path]) -> None:
    require_space(tmp_path, 5 << 30, "archives", "select less")


def test_too_little_is_told_with_the_remedy(tmp_path: Path, five_gib: list[Path]) -> None:
    message = f"expected 7.5 GiB of free disk space for archives in {tmp_path}, found 5.0 GiB; select less"
    with pytest.raises(SpaceError, match=f"^{re.escape(message)}$"):
        require_space(tmp_path, 15 << 29, "archives", "select less")
    with pytest.raises(SpaceError, match="found 5"):
        require_space(tmp_path, (5 << 30) + 1, "archives", "select less")


def test_one_disk_is_known_from_another(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    assert same_disk(tmp_path, tmp_path / "one")
    other = next((p for p in (Path("/proc"), Path("/dev/shm")) if p.is_dir()), None)  # noqa: S108 - not written
    if other is None:
        pytest.skip("no other file system here")
    assert not same_disk(tmp_path, other)
