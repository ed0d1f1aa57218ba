import re
import shutil
from collections import namedtuple
from pathlib import Path

import pytest

from bigearthnet.errors import SpaceError
from bigearthnet.work.space import free_bytes, require_space, same_disk

Usage = namedtuple("Usage", "total used free")


def test_free_space_is_that_of_the_disk_of_the_nearest_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[Path] = []
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: looked.append(path) or usage)
    monkeypatch.chdir(tmp_path)
    assert {free_bytes(tmp_path / "not" / "there"), free_bytes(Path("not/there"))} == {usage.free}
    assert [path.absolute() for path in looked] == [tmp_path, tmp_path]


def test_too_little_space_is_told_with_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10 << 30, 5 << 30, 5 << 30))
    require_space(tmp_path, 5 << 30, "archives", "or select less")
    message = (
        f"not enough disk space in {tmp_path} for archives: 7.5 GiB are needed, 5.0 GiB are free. "
        "Free some, or select less."
    )
    with pytest.raises(SpaceError, match=f"^{re.escape(message)}$"):
        require_space(tmp_path, 15 << 29, "archives", "or select less")
    with pytest.raises(SpaceError, match="GiB are free"):
        require_space(tmp_path, (5 << 30) + 1, "archives", "or select less")


def test_one_disk_is_known_from_another(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    assert same_disk(tmp_path, tmp_path / "one")
    assert not same_disk(tmp_path, Path("/proc"))
