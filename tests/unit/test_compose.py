import hashlib
import shutil
import subprocess
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import bigearthnet.zips.join
from bigearthnet.errors import ArchiveError, DestinationError, SpaceError
from bigearthnet.zips.format import Entry, Tail, central_entry, end_records, local_header, read_tail
from bigearthnet.zips.join import Join, JoinedZip, Section, join_to_file, plan_join, read_central_of_file
from bigearthnet.zips.shard import ShardWriter

GIB = 1 << 30
needs_unzip = pytest.mark.skipif(shutil.which("unzip") is None, reason="unzip is not installed")

Members = dict[str, bytes]


@st.composite
def shards_of_members(draw: st.DrawFn) -> list[Members]:
    """Members in ascending order, cut into shards at random places; some shards are empty."""
    members = draw(st.dictionaries(st.text("abc._09", min_size=1), st.binary(max_size=50), max_size=12))
    names = sorted(members)
    cuts = sorted(draw(st.lists(st.integers(0, len(names)), max_size=6)))
    return [
        {name: members[name] for name in names[start:end]}
        for start, end in zip([0, *cuts], [*cuts, len(names)], strict=True)
    ]


def write(path: Path, members: Members) -> Path:
    with ShardWriter(path) as writer:
        for name, data in members.items():
            writer.add(name, data)
    return path


def write_all(folder: Path, shards: list[Members]) -> list[Path]:
    return [write(folder / f"{i}.zip", members) for i, members in enumerate(shards)]


def unzip(*arguments: str | Path) -> bytes:
    done = subprocess.run(["unzip", *arguments], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout


def tail_of(path: Path) -> Tail:
    with path.open("rb") as file:
        return read_tail(file)


class Synthetic:
    """Shards of which only the central directory exists, so that their members can be of any size."""

    def __init__(self, shards: list[list[tuple[bytes, int]]]) -> None:
        self.central: dict[str | Path, bytes] = {}
        self.tails: list[tuple[str | Path, Tail]] = []
        self.read: list[str | Path] = []
        for i, members in enumerate(shards):
            central, end = self.directory(members)
            self.central[str(i)] = central
            self.tails.append((str(i), Tail(len(members), end, len(central))))

    @staticmethod
    def directory(members: list[tuple[bytes, int]]) -> tuple[bytes, int]:
        """The central directory of members that lie one after the other, and where they end."""
        central, offset = b"", 0
        for name, size in members:
            central += central_entry(name, size, size % 1000, offset)
            offset += 30 + len(name) + size
        return central, offset

    def read_central(self, section: Section) -> bytes:
        self.read.append(section.source)
        return self.central[section.source]


@given(shards_of_members(), st.integers(1, 100))
def test_a_join_is_the_zip_that_one_writer_would_have_made(
    tmp_path_factory: pytest.TempPathFactory, shards: list[Members], copy_chunk: int
) -> None:
    folder = tmp_path_factory.mktemp("join")
    everything = {name: data for members in shards for name, data in members.items()}
    expected = write(folder / "one.zip", everything).read_bytes()
    paths = write_all(folder, shards)
    before = [path.read_bytes() for path in paths]

    joined = join_to_file(paths, folder / "joined.zip", copy_chunk=copy_chunk)

    assert (folder / "joined.zip").read_bytes() == expected
    assert joined == JoinedZip(len(expected), hashlib.sha256(expected).hexdigest(), len(everything))
    assert [path.read_bytes() for path in paths] == before
    join = plan_join([(path, tail_of(path)) for path in paths])
    assert join.size(read_central_of_file) == len(expected)


@given(shards_of_members())
def test_the_plan_alone_is_enough_to_join_elsewhere(
    tmp_path_factory: pytest.TempPathFactory, shards: list[Members]
) -> None:
    folder = tmp_path_factory.mktemp("join")
    expected = write(
        folder / "one.zip", {n: d for members in shards for n, d in members.items()}
    ).read_bytes()
    store = {path.name: (path.read_bytes(), tail_of(path)) for path in write_all(folder, shards)}

    join = plan_join([(key, tail) for key, (_, tail) in store.items()])
    assert all(section.length > 0 for section in join.sections)  # a copied part cannot be empty
    result = bytearray()
    for section in join.sections:
        assert len(result) == section.offset
        result += store[str(section.source)][0][: section.length]
    assert len(result) == join.body

    def read_central(section: Section) -> bytes:
        return store[str(section.source)][0][section.length :][: section.central_size]

    assert bytes(result) + b"".join(join.central_directory(read_central)) == expected


@given(
    st.lists(
        st.lists(st.one_of(st.integers(0, 90), st.integers(GIB, 4 * GIB - 2)), max_size=4),
        min_size=1,
        max_size=5,
    )
)
def test_offsets_beyond_4_gib_are_those_of_one_large_zip(sizes: list[list[int]]) -> None:
    shards = [
        [(f"{s}/{m}{'_' * m}".encode(), size) for m, size in enumerate(of_shard)]
        for s, of_shard in enumerate(sizes)
    ]
    synthetic = Synthetic(shards)
    join = plan_join(synthetic.tails)
    central, body = Synthetic.directory([member for members in shards for member in members])
    expected = central + end_records(sum(map(len, shards)), len(central), body)

    assert join.size(synthetic.read_central) == body + len(expected)
    assert b"".join(join.central_directory(synthetic.read_central)) == expected


def test_the_size_needs_only_the_directory_of_the_shard_that_crosses_4_gib() -> None:
    synthetic = Synthetic([[(f"{s}/{m}".encode(), GIB // 2) for m in range(3)] for s in range(8)])
    join = plan_join(synthetic.tails)
    size = join.size(synthetic.read_central)
    assert synthetic.read == ["2"]  # it begins at 3 GiB
    assert size == join.body + sum(map(len, join.central_directory(synthetic.read_central)))


@needs_unzip
def test_members_beyond_4_gib_are_read_back_from_a_sparse_file(tmp_path: Path) -> None:
    large = [(b"0/a.png", 3 * GIB), (b"0/b.png", 3 * GIB)]  # holes; their CRC-32 is never asked for
    central, end = Synthetic.directory(large)
    last = {"1/a.png": b"first beyond", "1/b.png": b"second beyond"}
    shard = write(tmp_path / "last.zip", last)
    join = plan_join([("large", Tail(2, end, len(central))), (shard, tail_of(shard))])
    joined = tmp_path / "joined.zip"
    with joined.open("wb") as file:
        for offset, (name, size) in zip((0, 30 + 7 + 3 * GIB), large, strict=True):
            file.seek(offset)
            file.write(local_header(name, size, size % 1000))
        section = join.sections[1]
        file.seek(section.offset)
        file.write(shard.read_bytes()[: section.length])
        for chunk in join.central_directory(
            lambda s: central if s.source == "large" else read_central_of_file(s)
        ):
            file.write(chunk)

    assert joined.stat().st_size == join.size(lambda _: central) > 6 * GIB
    with zipfile.ZipFile(joined) as archive:
        assert archive.namelist() == ["0/a.png", "0/b.png", *last]
        assert {name: archive.read(name) for name in last} == last
    assert unzip("-p", joined, "1/b.png") == b"second beyond"


@needs_unzip
def test_unzip_finds_no_fault_with_more_members_than_a_classic_zip_can_count(tmp_path: Path) -> None:
    paths = write_all(tmp_path, [{f"{s}/{i:05d}.png": b"%d" % i for i in range(22_000)} for s in range(3)])
    joined = join_to_file(paths, tmp_path / "joined.zip")
    assert joined.members == 66_000
    assert unzip("-tqq", tmp_path / "joined.zip") == b""
    with zipfile.ZipFile(tmp_path / "joined.zip") as archive:
        assert len(archive.namelist()) == 66_000
        assert archive.read("2/21999.png") == b"21999"


def test_memory_is_that_of_one_shard_however_many_there_are() -> None:
    template, end = _template(1_000)
    few, many = (_peak(template, end, shards) for shards in (10, 60))
    assert many < 1.25 * few  # beyond 4 GiB each entry is longer by its zip64 extra
    assert many < 8 * len(template)


def _peak(template: bytes, end: int, shards: int) -> int:
    """Bytes held at most while the central directory of shards of 1,000 members is made."""
    join = plan_join([(f"{s:03d}", Tail(1_000, end, len(template))) for s in range(shards)])
    size = 0
    tracemalloc.start()
    try:
        for chunk in join.central_directory(lambda s: template.replace(b"###", str(s.source).encode())):
            size += len(chunk)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert size + join.body == join.size(lambda _: template)
    return peak


def _template(members: int) -> tuple[bytes, int]:
    """The central directory of a shard whose names hold `###` for its number, and the bytes before it."""
    entries, offset = [], 0
    for i in range(members):
        name = f"S2A_MSIL2A_20170613T101031_N9999_R022_T###UP_{i // 100:02d}_{i % 100:02d}.png".encode()
        entries.append(central_entry(name, 100_000, i, offset))
        offset += 30 + len(name) + 100_000
    return b"".join(entries), offset


@pytest.mark.parametrize("order", [(1, 0), (0, 0), (0, 1, 2)], ids=["swapped", "twice", "overlapping"])
def test_names_that_do_not_ascend_from_shard_to_shard_are_refused(
    tmp_path: Path, order: tuple[int, ...]
) -> None:
    paths = write_all(tmp_path, [{"a": b"1", "c": b"2"}, {"d": b"3", "e": b"4"}, {"da": b"5", "f": b"6"}])
    target = tmp_path / "joined.zip"
    with pytest.raises(
        ArchiveError, match=r"names that ascend .* found b'\w+' after b'\w' in .*zip; give the"
    ):
        join_to_file([paths[i] for i in order], target)
    assert not target.exists()


@pytest.mark.parametrize(
    ("shards", "found"),
    [([[b"b", b"a"]], "b'a' after b'b' in 0"), ([[b"a"], [b"a"]], "b'a' after b'a' in 1")],
    ids=["within", "twice"],
)
def test_a_name_that_does_not_ascend_is_told_with_its_shard(shards: list[list[bytes]], found: str) -> None:
    synthetic = Synthetic([[(name, 1) for name in names] for names in shards])
    with pytest.raises(ArchiveError, match=f"found {found};"):
        list(plan_join(synthetic.tails).central_directory(synthetic.read_central))


def _of_zipfile(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("b", b"2")


def _cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


def _empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("spoil", [_of_zipfile, _cut_off, _empty])
def test_what_is_no_shard_is_refused_by_its_name(tmp_path: Path, spoil: Callable[[Path], None]) -> None:
    paths = write_all(tmp_path, [{"a": b"1"}, {"b": b"2"}])
    spoil(paths[1])
    with pytest.raises(ArchiveError, match=f"expected a zip of stored members .* in {paths[1]}; delete it"):
        join_to_file(paths, tmp_path / "joined.zip")
    assert sorted(tmp_path.iterdir()) == paths


@pytest.mark.parametrize(
    ("members", "count", "end", "found"),
    [
        ([Entry(b"a", 5, 0, 0), Entry(b"b", 5, 0, 37)], 2, 72, "b'b' at byte 37 instead of 36"),
        ([Entry(b"a", 5, 0, 0)], 1, 37, "1 members in 36 bytes"),
        ([Entry(b"a", 5, 0, 0)], 2, 36, "1 members in 36 bytes"),
        ([], 0, 36, "0 members in 0 bytes"),
    ],
    ids=["gap", "body", "count", "bytes of no member"],
)
def test_a_directory_that_does_not_fit_the_members_is_refused(
    members: list[Entry], count: int, end: int, found: str
) -> None:
    central = b"".join(central_entry(e.name, e.size, e.crc32, e.offset) for e in members)
    join = plan_join([("T33UUP.zip", Tail(count, end, len(central)))])
    with pytest.raises(ArchiveError, match=f"first {end} bytes of T33UUP.zip, .* found {found}; delete it"):
        list(join.central_directory(lambda _: central))


def test_a_shard_that_shrinks_while_it_is_copied_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shard = write(tmp_path / "t.zip", {"a": b"1" * 1000})

    def plan_then_cut(shards: list[tuple[str | Path, Tail]]) -> Join:
        join = plan_join(shards)
        shard.write_bytes(shard.read_bytes()[:500])
        return join

    monkeypatch.setattr(bigearthnet.zips.join, "plan_join", plan_then_cut)
    with pytest.raises(
        ArchiveError, match=f"first 1031 bytes of {shard}, .* found its end 531 bytes earlier"
    ):
        join_to_file([shard], tmp_path / "joined.zip", copy_chunk=64)
    assert list(tmp_path.iterdir()) == [shard]


def test_a_cancelled_join_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shard = write(tmp_path / "t.zip", {"a": b"1"})
    target = tmp_path / "joined.zip"

    def cancelled(section: Section) -> bytes:
        assert target.exists()
        raise KeyboardInterrupt

    monkeypatch.setattr(bigearthnet.zips.join, "read_central_of_file", cancelled)
    with pytest.raises(KeyboardInterrupt):
        join_to_file([shard], target)
    assert list(tmp_path.iterdir()) == [shard]


def test_a_missing_shard_is_named_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"No such file .*T33UUP\.zip"):
        join_to_file([tmp_path / "T33UUP.zip"], tmp_path / "joined.zip")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    target = tmp_path / "missing" / "joined.zip"
    with pytest.raises(DestinationError, match=f"write {target}, found: No such file"):
        join_to_file([], target)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full, a disk that is always full")
def test_a_full_disk_is_told_and_nothing_is_left(tmp_path: Path) -> None:
    shard = write(tmp_path / "t.zip", {"a": b"1"})
    target = tmp_path / "joined.zip"
    target.symlink_to("/dev/full")
    with pytest.raises(SpaceError, match=f"room for {target}, found .*No space left"):
        join_to_file([shard], target)
    assert list(tmp_path.iterdir()) == [shard]


def test_central_directories_are_read_one_at_a_time_and_not_before_they_are_needed() -> None:
    synthetic = Synthetic([[(b"a", 1)], [(b"b", 1)], [(b"c", 1)]])
    chunks: Iterator[bytes] = plan_join(synthetic.tails).central_directory(synthetic.read_central)
    assert synthetic.read == []
    next(chunks)
    assert synthetic.read == ["0"]
