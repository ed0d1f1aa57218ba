import hashlib
import os
from pathlib import Path

import pytest

from bigearthnet.work.digests import known_digest, md5_of_file, remember_digest, replace_text

CONTENT = bytes(range(256)) * 12_345


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "archive"
    path.write_bytes(CONTENT)
    return path


@pytest.fixture
def memo(tmp_path: Path) -> Path:
    return tmp_path / "work" / "memo"


def test_the_md5_is_that_of_the_whole_file_and_every_block_is_told(file: Path) -> None:
    told: list[int] = []
    assert md5_of_file(file, on_bytes=told.append) == hashlib.md5(CONTENT).hexdigest()  # noqa: S324
    assert sum(told) == len(CONTENT)
    assert len(told) > 1


def test_an_empty_file_has_an_md5(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert md5_of_file(tmp_path / "empty") == "d41d8cd98f00b204e9800998ecf8427e"  # of no bytes: RFC 1321


def test_an_unchanged_file_is_known(file: Path, memo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert known_digest(file, memo) is None
    remember_digest(file, "0" * 32, memo)
    assert known_digest(file, memo) == "0" * 32
    monkeypatch.chdir(file.parent)
    assert known_digest(Path(file.name), memo) == "0" * 32, "a relative path to the same file"


def test_two_files_have_two_memos(file: Path, memo: Path) -> None:
    other = file.with_name("other")
    other.write_bytes(CONTENT)
    remember_digest(file, "0" * 32, memo)
    remember_digest(other, "1" * 32, memo)
    assert (known_digest(file, memo), known_digest(other, memo)) == ("0" * 32, "1" * 32)


def test_another_size_is_not_known(file: Path, memo: Path) -> None:
    remember_digest(file, "0" * 32, memo)
    before = file.stat()
    with file.open("ab") as stream:
        stream.write(b"x")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert known_digest(file, memo) is None


def test_another_time_of_change_is_not_known(file: Path, memo: Path) -> None:
    remember_digest(file, "0" * 32, memo)
    before = file.stat()
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    assert known_digest(file, memo) is None


def test_another_inode_is_not_known(file: Path, memo: Path) -> None:
    remember_digest(file, "0" * 32, memo)
    before = file.stat()
    twin = file.with_name("twin")
    twin.write_bytes(CONTENT)
    twin.replace(file)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert file.stat().st_mtime_ns == before.st_mtime_ns
    assert known_digest(file, memo) is None


def test_a_file_that_is_gone_is_not_known(file: Path, memo: Path) -> None:
    remember_digest(file, "0" * 32, memo)
    file.unlink()
    assert known_digest(file, memo) is None


@pytest.mark.parametrize("text", ["", "{", "null", '{"size": 1}', "\x00", '{"md5": "' + "0" * 32 + '"}'])
def test_a_corrupt_memo_counts_as_none(file: Path, memo: Path, text: str) -> None:
    remember_digest(file, "0" * 32, memo)
    (found,) = memo.iterdir()
    found.write_text(text)
    assert known_digest(file, memo) is None


def test_an_md5_that_is_none_counts_as_none(file: Path, memo: Path) -> None:
    remember_digest(file, "0" * 32, memo)
    (found,) = memo.iterdir()
    found.write_text(found.read_text().replace("0" * 32, "z" * 32))
    assert known_digest(file, memo) is None


def test_a_small_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    place = tmp_path / "note.json"
    replace_text(place, "old")
    with pytest.raises(UnicodeEncodeError):
        replace_text(place, "new \udc80")
    assert place.read_text() == "old"
    replace_text(place, "new")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["new"], "nothing is left beside it"
