import io
import os
import random
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bigearthnet.archive.tar import BLOCK, END_OF_ARCHIVE, MEMBER_LIMIT, walk
from bigearthnet.errors import ArchiveError
from tests.support.archives import needs_gnu_tar

FORMATS = {"gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT, "ustar": tarfile.USTAR_FORMAT}
Entry = tuple[tarfile.TarInfo, bytes]


def entry(name: str, content: bytes = b"", **attributes: object) -> Entry:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for key, value in attributes.items():
        setattr(info, key, value)
    return info, content


def pack(*entries: Entry, form: str = "gnu") -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=FORMATS[form]) as archive:
        for info, content in entries:
            archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


def cut(data: bytes, size: int = 4096) -> Iterator[bytes]:
    return (data[i : i + size] for i in range(0, len(data), size))


def walked(data: bytes) -> list[tuple[bytes, bytes]]:
    return [(member.path, member.content) for member in walk(cut(data))]


def listed(data: bytes) -> list[tuple[bytes, bytes]]:
    """Path and content of each regular file, by tarfile."""
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
        files = [info for info in archive if info.isreg()]
        return [(os.fsencode(info.name), archive.extractfile(info).read()) for info in files]  # type: ignore[union-attr]


def refused(data: bytes, message: str) -> None:
    with pytest.raises(ArchiveError, match=message):
        walked(data)


def tars_of(form: str, paths: st.SearchStrategy[str]) -> st.SearchStrategy[bytes]:
    files = st.builds(entry, paths, contents)
    folders = paths.map(lambda path: entry(path, type=tarfile.DIRTYPE))
    return st.lists(files | folders, max_size=6).map(lambda entries: pack(*entries, form=form))


texts = st.text(st.sampled_from("ab_.ö漢🛰"), min_size=1, max_size=8)
parts = st.builds(lambda text, length: (text * length)[:length], texts, st.integers(1, 100))
paths = st.lists(parts, min_size=1, max_size=3).map("/".join)
ascii_paths = st.lists(st.integers(1, 50).map("d".__mul__), min_size=1, max_size=5).map("/".join)
contents = st.integers(0, 1600).map(random.Random(1).randbytes)
tars = tars_of("gnu", paths) | tars_of("pax", paths) | tars_of("ustar", ascii_paths)
chunkings = st.lists(st.integers(0, 1500), min_size=1, max_size=20)


def chunked(data: bytes, sizes: list[int]) -> Iterator[bytes]:
    """The data in pieces of these sizes over and over (also empty ones)."""
    at = 0
    while at < len(data):
        for size in [*sizes, 700]:
            yield data[at : at + size]
            at += size


@settings(deadline=None, max_examples=200)
@given(tars, chunkings)
def test_walk_agrees_with_tarfile(data: bytes, sizes: list[int]) -> None:
    found = []
    for member in walk(chunked(data, sizes)):
        found.append((member.path, member.content))
        # The blocks of a member are a tar of it alone.
        assert len(member.blocks) % BLOCK == 0
        assert listed(bytes(member.blocks) + END_OF_ARCHIVE) == found[-1:]
    assert found == listed(data)


@needs_gnu_tar
@pytest.mark.parametrize("form", ["v7", "oldgnu", "gnu", "ustar", "posix"])
def test_walk_reads_what_gnu_tar_writes(tmp_path: Path, form: str) -> None:
    long = "d" * 60 + "/" + "e" * 80 if form == "ustar" else "d" * 90 + "/" + "e" * 200
    names = ["a", "empty", "folder/b", *([] if form == "v7" else [long, "ü/漢.tif"])]
    contents = {name: random.Random(name).randbytes(0 if name == "empty" else 29_196) for name in names}
    for name, content in contents.items():
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_bytes(content)
    command = ["tar", f"--format={form}", "--sort=name", "-c", *sorted(p.name for p in tmp_path.iterdir())]
    made = subprocess.run(command, capture_output=True, check=True, cwd=tmp_path).stdout
    assert dict(walked(made)) == {os.fsencode(name): content for name, content in contents.items()}
    assert walked(made) == listed(made)


@needs_gnu_tar
@pytest.mark.parametrize("form", ["gnu", "posix", "0.0", "0.1", "1.0"])
def test_sparse_files_are_refused(tmp_path: Path, form: str) -> None:
    with (tmp_path / "holes.tif").open("wb") as file:
        file.truncate(1 << 19)
        file.write(b"1")
    how = [f"--format={form}"] if form.isalpha() else ["--format=posix", f"--sparse-version={form}"]
    made = subprocess.run(["tar", *how, "-Sc", "holes.tif"], capture_output=True, check=True, cwd=tmp_path)
    refused(made.stdout, r"^'.*holes\.tif' is a sparse file; only plain files are read$")


KINDS = {
    tarfile.LNKTYPE: "a hard link",
    tarfile.SYMTYPE: "a symbolic link",
    tarfile.CHRTYPE: "a character device",
    tarfile.BLKTYPE: "a block device",
    tarfile.FIFOTYPE: "a pipe",
    b"V": "a member of type b'V'",
}


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("kind", KINDS)
def test_special_files_are_refused(form: str, kind: bytes) -> None:
    name = "folder/strange" if form == "ustar" else "folder/" + 200 * "s"
    target = "../../etc/passwd" if form == "ustar" else "x" * 300
    data = pack(entry("a", b"1"), entry(name, type=kind, linkname=target), form=form)
    refused(data, f"^'{name}' is {KINDS[kind]}; only plain files are read$")


@pytest.mark.parametrize(
    ("size", "form"), [(MEMBER_LIMIT + 1, "ustar"), (10 * 10**9, "gnu"), (1 << 60, "pax"), (-1, "gnu")]
)
def test_absurd_sizes_are_refused_before_anything_is_read(size: int, form: str) -> None:
    header = entry("huge.tif", size=size)[0].tobuf(FORMATS[form])
    refused(header + bytes(10_000), rf"^'huge\.tif' claims {size:,} bytes; the limit is 1,048,576$")


def test_absurdly_long_names_are_refused() -> None:
    refused(pack(entry("n" * 70_000)), r"'\./\./@LongLink' claims 70,001 bytes; the limit is 65,536")


@pytest.mark.parametrize("kind", [b"L", b"x", b"g", b"K"])
def test_headers_before_a_member_are_limited(kind: bytes) -> None:
    record = b"50000 comment=" + b"c" * 49_985 + b"\n"
    header = (
        entry("h", record, type=kind)[0].tobuf(tarfile.USTAR_FORMAT) + record + bytes(-len(record) % BLOCK)
    )
    assert walked(header * 5 + pack(entry("a", b"1")))[0][1] == b"1"
    endless = (header for _ in iter(int, 1))
    with pytest.raises(ArchiveError, match="a member has more than 262,144 bytes of headers"):
        next(walk(endless))


def test_a_member_of_the_largest_size_is_read() -> None:
    content = random.Random(0).randbytes(MEMBER_LIMIT)
    assert walked(pack(entry("a", content), entry("b", b"2"))) == [(b"a", content), (b"b", b"2")]


@settings(deadline=None)
@given(st.integers(0, BLOCK - 1), st.integers(1, 255))
def test_a_changed_byte_in_a_header_is_noticed(at: int, change: int) -> None:
    whole = pack(entry("folder/a.tif", b"1" * 600))
    data = bytearray(whole)
    data[at] ^= change
    if 148 <= at < 156:  # the checksum itself, which can be written in several ways
        with suppress(ArchiveError):
            assert walked(bytes(data)) == walked(whole)
    else:
        refused(bytes(data), r"this is not a tar, or it is damaged \((bad checksum|invalid header)\)\. Fetch")


@pytest.mark.parametrize("form", FORMATS)
def test_a_tar_that_is_cut_off_is_refused(form: str) -> None:
    name = "n" * (90 if form == "ustar" else 150)
    folder = entry("folder", type=tarfile.DIRTYPE)
    data = pack(entry("a" + name, b"1" * 700), folder, entry("b" + name, b"2"), form=form)
    whole = len(data.rstrip(b"\0"))
    end = whole + -whole % BLOCK  # where the blocks of zeros begin
    for size in {*range(0, end + BLOCK, BLOCK), *range(0, end + BLOCK, 97), end + BLOCK - 1}:
        refused(data[:size], "the tar is cut off. Fetch the file again.")
    assert walked(data[: end + BLOCK]) == listed(data)  # one block of zeros is an end to tarfile too


def test_an_end_behind_a_long_name_is_refused() -> None:
    data = pack(entry("n" * 200, b"1"))
    refused(data[: 2 * BLOCK] + END_OF_ARCHIVE, "the tar ends behind a long name, before its member")


def test_what_is_behind_the_end_is_read_and_ignored() -> None:
    chunks = cut(pack(entry("a", b"1")) + pack(entry("b", b"2")) + b"more", 100)
    assert [member.path for member in walk(chunks)] == [b"a"]
    assert next(chunks, None) is None
    assert walked(END_OF_ARCHIVE) == []


def pax(records: bytes, kind: bytes = b"x") -> bytes:
    """A pax header of these records, then a plain file `a`."""
    header = entry("header", records, type=kind)[0].tobuf(tarfile.USTAR_FORMAT)
    return header + records + bytes(-len(records) % BLOCK) + pack(entry("a", b"1"))


@pytest.mark.parametrize(
    ("records", "message"),
    [
        (b"9 path=bc", "'9 path=bc' is not a pax record"),
        (b"99 path=b\n", "is not a pax record"),
        (b"0 path=b\n", "is not a pax record"),
        (b"7 path\n", "is not a pax record"),
        (b"path=b\n", "is not the length of a pax record"),
        (b"-9 path=b\n", "'-9' is not the length of a pax record"),
        (b"9" * 5000 + b" path=b\n", "'9{300}' is not the length of a pax record"),
        (b"10 size=x\n", "'x' is not the size"),
        (b"5009 size=" + b"9" * 4998 + b"\n", "'9{300}' is not the size"),
    ],
)
def test_damaged_pax_records_are_refused(records: bytes, message: str) -> None:
    refused(pax(records), message)


def test_global_pax_headers_state_neither_names_nor_sizes() -> None:
    for record in (b"10 path=b\n", b"10 size=1\n"):
        refused(pax(record, b"g"), "a global pax header states a path or size")
    assert walked(pax(b"17 comment=hello\n", b"g")) == [(b"a", b"1")]
