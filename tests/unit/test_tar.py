import io
import os
import random
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bigearthnet.archive.tar import BLOCK, END_OF_ARCHIVE, MEMBER_LIMIT, walk
from bigearthnet.errors import ArchiveError

FORMATS = {"gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT, "ustar": tarfile.USTAR_FORMAT}
needs_gnu_tar = pytest.mark.skipif(
    b"GNU tar" not in subprocess.run(["tar", "--version"], capture_output=True, check=False).stdout
    if shutil.which("tar")
    else True,
    reason="GNU tar is not installed",
)

Files = list[tuple[str, bytes]]


def entry(name: str, content: bytes = b"", **attributes: object) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for key, value in attributes.items():
        setattr(info, key, value)
    return info, content


def pack(*entries: tuple[tarfile.TarInfo, bytes], form: str = "gnu") -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=FORMATS[form]) as archive:
        for info, content in entries:
            archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


def resealed(block: bytes) -> bytes:
    """The header with the checksum that its bytes call for."""
    blank = block[:148] + b" " * 8 + block[156:]
    return blank[:148] + b"%06o\0 " % sum(blank) + blank[156:]


def cut(data: bytes, size: int) -> Iterator[bytes]:
    return (data[i : i + size] for i in range(0, len(data), size))


def walked(data: bytes, chunk: int = 4096) -> list[tuple[bytes, bytes]]:
    return [(member.path, member.content) for member in walk(cut(data, chunk))]


def listed(data: bytes) -> list[tuple[bytes, bytes]]:
    """What tarfile finds: path and content of each regular file."""
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
        files = [info for info in archive if info.isreg()]
        return [(os.fsencode(info.name), archive.extractfile(info).read()) for info in files]  # type: ignore[union-attr]


texts = st.text(st.sampled_from("ab_.ö漢🛰"), min_size=1, max_size=8)
parts = st.builds(lambda text, length: (text * length)[:length], texts, st.integers(1, 100))
paths = st.lists(parts, min_size=1, max_size=3).map("/".join)
contents = st.builds(
    lambda size, seed: random.Random(seed).randbytes(size), st.integers(0, 1600), st.integers(0, 9)
)
folders = paths.map(lambda path: entry(path, type=tarfile.DIRTYPE))
entries = st.lists(st.builds(entry, paths, contents) | folders, max_size=6)
chunkings = st.lists(st.integers(0, 1500), min_size=1, max_size=20)


def chunked(data: bytes, sizes: list[int]) -> Iterator[bytes]:
    """The data in pieces of these sizes over and over (also empty ones)."""
    at = 0
    while at < len(data):
        for size in [*sizes, 700]:
            yield data[at : at + size]
            at += size


@settings(deadline=None)
@given(entries, st.sampled_from(["gnu", "pax"]), chunkings)
def test_the_walk_agrees_with_tarfile(
    members: list[tuple[tarfile.TarInfo, bytes]], form: str, sizes: list[int]
) -> None:
    data = pack(*members, form=form)
    found = [(member.path, member.content) for member in walk(chunked(data, sizes))]
    assert found == listed(data)


halves = st.lists(st.integers(1, 50).map("ab".ljust), min_size=1, max_size=5).map("/".join)
names = halves.map(lambda path: path.replace(" ", "c"))


@settings(deadline=None)
@given(st.lists(st.builds(entry, names, contents), max_size=4), chunkings)
def test_the_walk_agrees_with_tarfile_about_names_in_two_halves(
    members: list[tuple[tarfile.TarInfo, bytes]], sizes: list[int]
) -> None:
    data = pack(*members, form="ustar")
    assert [(member.path, member.content) for member in walk(chunked(data, sizes))] == listed(data)


@given(entries, st.sampled_from(["gnu", "pax"]), chunkings)
@settings(max_examples=50, deadline=None)
def test_a_members_own_blocks_are_a_tar_of_it_alone(
    members: list[tuple[tarfile.TarInfo, bytes]], form: str, sizes: list[int]
) -> None:
    for member in walk(chunked(pack(*members, form=form), sizes)):
        assert len(member.blocks) % BLOCK == 0
        assert listed(bytes(member.blocks) + END_OF_ARCHIVE) == [(member.path, member.content)]


@needs_gnu_tar
@pytest.mark.parametrize("form", ["v7", "oldgnu", "gnu", "ustar", "posix"])
def test_the_walk_reads_what_gnu_tar_writes(tmp_path: Path, form: str) -> None:
    long = "d" * 60 + "/" + "e" * 80 if form in ("ustar",) else "d" * 90 + "/" + "e" * 200
    names = ["a", "empty", "folder/b", *([] if form == "v7" else [long, "ü/漢.tif"])]
    contents = {name: random.Random(name).randbytes(0 if name == "empty" else 29_196) for name in names}
    for name, content in contents.items():
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_bytes(content)
    made = subprocess.run(
        [
            "tar",
            f"--format={form}",
            "--owner=0",
            "--group=0",
            "--sort=name",
            "-c",
            *sorted(path.name for path in tmp_path.iterdir()),
        ],
        capture_output=True,
        check=True,
        cwd=tmp_path,
    ).stdout
    found = walked(made, 10_000)
    assert dict(found) == {os.fsencode(name): content for name, content in contents.items()}
    assert found == listed(made)


@needs_gnu_tar
@pytest.mark.parametrize("form", ["gnu", "posix", "0.0", "0.1", "1.0"])
def test_sparse_files_of_gnu_tar_are_refused(tmp_path: Path, form: str) -> None:
    with (tmp_path / "holes.tif").open("wb") as file:
        file.truncate(1 << 19)
        file.write(b"1")
    how = [f"--format={form}"] if form.isalpha() else ["--format=posix", f"--sparse-version={form}"]
    made = subprocess.run(
        ["tar", *how, "-S", "-c", "holes.tif"], capture_output=True, check=True, cwd=tmp_path
    )
    with pytest.raises(ArchiveError, match=r"^expected plain files, found a sparse file: '.*holes\.tif'$"):
        walked(made.stdout)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize(
    ("kind", "what"),
    [
        (tarfile.LNKTYPE, "a hard link"),
        (tarfile.SYMTYPE, "a symbolic link"),
        (tarfile.CHRTYPE, "a character device"),
        (tarfile.BLKTYPE, "a block device"),
        (tarfile.FIFOTYPE, "a pipe"),
        (b"V", "type b'V'"),
    ],
)
def test_what_is_no_plain_file_is_refused(form: str, kind: bytes, what: str) -> None:
    name = "folder/strange" if form == "ustar" else "folder/" + 200 * "s"
    data = pack(entry("a", b"1"), entry(name, type=kind, linkname="../../etc/passwd"), form=form)
    with pytest.raises(ArchiveError, match=f"^expected plain files, found {what}: '{name}'$"):
        walked(data)


def test_long_links_are_refused_as_links() -> None:
    data = pack(entry("strange", type=tarfile.SYMTYPE, linkname="x" * 300))
    with pytest.raises(ArchiveError, match="found a symbolic link: 'strange'"):
        walked(data)


def test_the_old_form_of_a_folder_is_a_folder() -> None:
    data = bytearray(pack(entry("folder", b""), entry("a", b"1")))
    block = bytes(data[:BLOCK]).replace(b"folder\0", b"folder/", 1)
    data[:BLOCK] = resealed(block[:156] + b"\0" + block[157:])
    assert walked(bytes(data)) == [(b"a", b"1")] == listed(bytes(data))


@pytest.mark.parametrize("size", [MEMBER_LIMIT + 1, 10 * 10**9, 1 << 60])
def test_an_absurd_size_is_refused_before_it_is_read(size: int) -> None:
    header = entry("huge.tif", size=size)[0].tobuf(tarfile.GNU_FORMAT)
    assert (header[124] == 0x80) == (size >= 8**11)  # the largest is written in base 256
    with pytest.raises(ArchiveError, match=rf"of up to 1,048,576 bytes, .* claims {size:,}: 'huge\.tif'"):
        walked(header + bytes(10_000))


def test_an_absurd_size_in_a_pax_header_is_refused() -> None:
    info = entry("huge.tif")[0]
    info.pax_headers = {"size": str(10 * 10**9)}
    with pytest.raises(ArchiveError, match=r"claims 10,000,000,000: 'huge\.tif'"):
        walked(info.tobuf(tarfile.PAX_FORMAT))


def test_an_absurdly_long_name_is_refused() -> None:
    with pytest.raises(
        ArchiveError, match=r"up to 65,536 bytes, found a header that claims 70,001: '\./\./@LongLink'"
    ):
        walked(pack(entry("n" * 70_000)))


def test_a_member_of_the_largest_size_is_read() -> None:
    content = random.Random(0).randbytes(MEMBER_LIMIT)
    assert walked(pack(entry("a", content), entry("b", b"2"))) == [(b"a", content), (b"b", b"2")]


def test_a_small_size_in_base_256_is_read() -> None:
    data = bytearray(pack(entry("a", b"content")))
    data[:BLOCK] = resealed(bytes(data[:124]) + b"\x80" + (7).to_bytes(11, "big") + bytes(data[136:BLOCK]))
    assert walked(bytes(data)) == [(b"a", b"content")] == listed(bytes(data))


def test_a_negative_size_is_refused() -> None:
    data = pack(entry("a", b"content"))
    with pytest.raises(ArchiveError, match="expected an octal size in a tar header"):
        walked(resealed(data[:124] + b"\xff" * 12 + data[136:BLOCK]) + data[BLOCK:])


def test_the_checksum_of_signed_bytes_is_taken_too() -> None:
    data = pack(entry("ö", b"1"))
    header = data[:148] + b" " * 8 + data[156:BLOCK]
    signed = sum(byte - 256 * (byte > 127) for byte in header)
    data = header[:148] + b"%06o\0 " % signed + data[156:]
    assert walked(data) == [("ö".encode(), b"1")] == listed(data)


@settings(deadline=None)
@given(st.integers(0, BLOCK - 1), st.integers(1, 255))
def test_a_changed_byte_in_a_header_is_noticed(at: int, change: int) -> None:
    data = bytearray(pack(entry("folder/a.tif", b"1" * 600)))
    data[at] ^= change
    # The checksum's last two bytes are a NUL and a blank; another blank or NUL there says the same.
    if (
        148 <= at < 156
        and bytes(data[148:156]).strip(b" \0") == pack(entry("folder/a.tif", b"1" * 600))[148:154]
    ):
        assert walked(bytes(data)) == [(b"folder/a.tif", b"1" * 600)]
    else:
        with pytest.raises(ArchiveError, match=r"expected (a tar header with checksum|an octal checksum)"):
            walked(bytes(data))


@pytest.mark.parametrize("form", FORMATS)
def test_a_tar_that_is_cut_off_is_never_taken_for_whole(form: str) -> None:
    name = "n" * (90 if form == "ustar" else 150)
    data = pack(
        entry("a" + name, b"1" * 700),
        entry("folder", type=tarfile.DIRTYPE),
        entry("b" + name, b"2"),
        form=form,
    )
    whole = len(data.rstrip(b"\0"))
    end = whole + -whole % BLOCK  # where the blocks of zeros begin
    for size in sorted({*range(0, end + BLOCK, BLOCK), *range(1, end + BLOCK, 97), end + BLOCK - 1}):
        if size < end + BLOCK:
            with pytest.raises(ArchiveError, match="found the end: the tar was cut off"):
                walked(data[:size])
    assert walked(data[: end + BLOCK]) == listed(data)  # one block of zeros is an end to tarfile too


def test_nothing_is_cut_off() -> None:
    with pytest.raises(ArchiveError, match="the tar was cut off"):
        walked(b"")


def test_an_end_behind_a_long_name_is_refused() -> None:
    data = pack(entry("n" * 200, b"1"))
    with pytest.raises(ArchiveError, match="expected a member behind its long name, found the archive's end"):
        walked(data[: 2 * BLOCK] + END_OF_ARCHIVE)


@settings(deadline=None)
@given(st.binary(min_size=BLOCK, max_size=3 * BLOCK))
def test_garbage_is_no_tar(data: bytes) -> None:
    if data[:BLOCK].strip(b"\0"):
        with pytest.raises(ArchiveError, match=r"^expected "):
            walked(data)


def test_random_bytes_are_called_no_tar() -> None:
    with pytest.raises(
        ArchiveError, match=r"expected an octal checksum in a tar header, found .*: this is no tar"
    ):
        walked(random.Random(0).randbytes(BLOCK))


def test_an_archive_of_nothing_is_empty() -> None:
    assert walked(END_OF_ARCHIVE) == []


def test_what_stands_behind_the_end_is_read_and_ignored() -> None:
    data = pack(entry("a", b"1"))
    chunks = cut(data + pack(entry("b", b"2")) + b"more", 100)
    assert [member.path for member in walk(chunks)] == [b"a"]
    assert next(chunks, None) is None


def pax(records: bytes, kind: bytes = b"x") -> bytes:
    """A pax header of these records and a plain file `a` behind it."""
    header = entry("header", records, type=kind)[0].tobuf(tarfile.USTAR_FORMAT)
    return header + records + bytes(-len(records) % BLOCK) + pack(entry("a", b"1"))


@pytest.mark.parametrize(
    ("records", "message"),
    [
        (b"9 path=bc", r"expected a pax record '<length> <key>=<value>', found '9 path=bc'"),
        (b"99 path=b\n", "found '99 path=b"),
        (b"5 path=b\n", "expected a pax record"),
        (b"0 path=b\n", "expected a pax record"),
        (b"7 path\n", "expected a pax record"),
        (b"path=b\n", "expected a number as length of a pax record, found 'path=b"),
        (b"-9 path=b\n", "expected a number as length of a pax record, found '-9'"),
        (b"9" * 5000 + b" path=b\n", "expected a number as length of a pax record, found '9{80}'$"),
        (b"10 size=x\n", "expected a number as size, found 'x'"),
        (b"5009 size=" + b"9" * 4998 + b"\n", "expected a number as size, found '9{80}'$"),
    ],
)
def test_damaged_pax_records_are_refused(records: bytes, message: str) -> None:
    with pytest.raises(ArchiveError, match=message):
        walked(pax(records))


@pytest.mark.parametrize("record", [b"10 path=b\n", b"10 size=1\n"])
def test_a_global_name_or_size_is_refused(record: bytes) -> None:
    with pytest.raises(
        ArchiveError, match="names and sizes with each member, found them in a global pax header"
    ):
        walked(pax(record, kind=b"g"))


def test_other_global_records_are_passed_over() -> None:
    assert walked(pax(b"17 comment=hello\n", kind=b"g")) == [(b"a", b"1")]


def test_a_pax_header_counts_for_one_member_only() -> None:
    data = pax(b"10 path=b\n")[: -len(END_OF_ARCHIVE)]
    end = data.rstrip(b"\0") + bytes(-len(data.rstrip(b"\0")) % BLOCK)
    assert walked(end + pack(entry("c", b"3"))) == [(b"b", b"1"), (b"c", b"3")]
