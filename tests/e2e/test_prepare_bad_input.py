"""Input that is not what it should be: which error tells of it, and that nothing is published."""

import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zstandard
from prefect.exceptions import ParameterTypeError
from rasterio import Affine

from bigearthnet.errors import (
    ArchiveError,
    DestinationError,
    RejectedError,
    SelectionError,
    SourceError,
    SpaceError,
)
from bigearthnet.sample.archives import Sample
from flows.prepare import prepare
from tests.support.archives import IMAGES, MAPS, linked, members, replace, rewrite, tar
from tests.support.published import Published, patch_ids, read_card, require_whole
from tests.support.rasters import geotiff
from tests.support.record_server import RecordServer
from tests.support.runs import Place, start

pytestmark = pytest.mark.e2e


@pytest.fixture
def record(sample: Sample, tmp_path: Path) -> Path:
    """The sample to tamper with."""
    return linked(sample.folder, tmp_path / "record")


@pytest.fixture
def victim(sample: Sample) -> str:
    """A patch in the middle of the archive."""
    ids = sorted({name.split("/")[2] for name, _ in members(sample.folder / MAPS)})
    return ids[len(ids) // 2]


def nothing_published(place: Place) -> bool:
    return not any(path for path in place.destination.rglob("*") if path.name != ".lock")


# the archive as a whole


def _empty(_: bytes) -> bytes:
    return b""


def _no_zstd(_: bytes) -> bytes:
    return b"PK\3\4" + bytes(2000)


def _no_tar(_: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(b"this is no tar. " * 400)


def _no_members(_: bytes) -> bytes:
    return tar([])


def _cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def _tar_cut(content: bytes) -> bytes:
    raw = zstandard.ZstdDecompressor().decompressobj().decompress(content)
    return zstandard.ZstdCompressor().compress(raw[: len(raw) // 2])


def _flipped(content: bytes) -> bytes:
    place = len(content) * 3 // 4
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


@pytest.mark.parametrize("name", [IMAGES, MAPS])
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_empty, "the file is empty"),
        (_no_zstd, "this is not zstd"),
        (_no_tar, "this is not a tar"),
        (_cut, "the file is cut off"),
        (_tar_cut, "the tar is cut off"),
        (_flipped, "damaged|checksum|is not a member|not sorted"),
    ],
)
def test_a_damaged_archive(
    record: Path, place: Place, name: str, damage: Callable[[bytes], bytes], message: str
) -> None:
    replace(record / name, damage((record / name).read_bytes()))
    with pytest.raises(ArchiveError, match=rf"^{name}, .*({message})"):
        start(record, place)
    assert nothing_published(place)


@pytest.mark.parametrize("damage", [_cut, _tar_cut, _flipped])
def test_a_damaged_archive_in_a_stream(record: Path, place: Place, damage: Callable[[bytes], bytes]) -> None:
    replace(record / IMAGES, damage((record / IMAGES).read_bytes()))
    with RecordServer(record) as server, pytest.raises(ArchiveError, match=rf"^{IMAGES}, "):
        start(server.record_url, place, transfer="stream")
    assert nothing_published(place)


def test_maps_without_members(record: Path, place: Place) -> None:
    replace(record / MAPS, _no_members(b""))
    with pytest.raises(ArchiveError, match=f"^{MAPS} has no patches"):
        start(record, place)


def test_images_without_members(record: Path, place: Place, sample: Sample) -> None:
    replace(record / IMAGES, _no_members(b""))
    with pytest.raises(
        RejectedError, match=rf"found {sample.patches} of {sample.patches} .*missing in the images' archive"
    ):
        start(record, place, max_rejected=sample.patches)
    assert nothing_published(place)


# members that nobody should trust


def _file(name: str, content: bytes = b"x", **attributes: Any) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for key, value in attributes.items():
        setattr(info, key, value)
    return info, content


def _huge(path: str) -> bytes:
    """A header that claims 10 GB; tarfile would want to write them."""
    info = tarfile.TarInfo(path)
    info.size = 10_000_000_000
    header = info.tobuf(format=tarfile.GNU_FORMAT)
    return zstandard.ZstdCompressor().compress(header + bytes(4096))


@pytest.mark.parametrize("name", [IMAGES, MAPS])
@pytest.mark.parametrize(
    ("archive", "message"),
    [
        (tar([_file("../x")]), r"'\.\./x' is not a member of the form"),
        (tar([_file("/etc/x")]), r"'/etc/x' is not a member of the form"),
        (
            tar([_file("BigEarthNet-S2/x", b"", type=tarfile.SYMTYPE, linkname="/etc/passwd")]),
            "'BigEarthNet-S2/x' is a symbolic link; only plain files",
        ),
        (
            _huge("BigEarthNet-S2/x"),
            "'BigEarthNet-S2/x' claims 10,000,000,000 bytes, more than the limit of 1,048,576",
        ),
    ],
    ids=["up", "absolute", "symlink", "10 GB"],
)
def test_a_hostile_member(record: Path, place: Place, name: str, archive: bytes, message: str) -> None:
    replace(record / name, archive)
    around = {path for path in record.parent.rglob("*") if place.work not in path.parents}
    with pytest.raises(ArchiveError, match=rf"^{name}, .*: {message}"):
        start(record, place)
    left = {path for path in record.parent.rglob("*") if place.work not in path.parents}
    assert left - around <= {place.work, place.destination, place.destination / ".lock"}


# patches


def _band(side: int, dtype: str) -> bytes:
    return geotiff(np.ones((side, side), dtype), transform=Affine(1200 / side, 0, 0, 0, -1200 / side, 0))


def _map_with(code: int) -> bytes:
    codes = np.full((120, 120), 311, np.uint16)
    codes[60, 60] = code
    return geotiff(codes, compress="deflate", predictor=2)


@pytest.mark.parametrize(
    ("archive", "layer", "content", "reason"),
    [
        (IMAGES, "B03", None, "missing in the images' archive: B03"),
        (MAPS, "reference_map", None, "missing in the reference maps' archive"),
        (IMAGES, "B02", _band(60, "uint16"), "B02: .* has not 1 band of 120 × 120 .* but 1 of 60 × 60"),
        (IMAGES, "B04", _band(120, "float32"), "B04: .* but 1 of 120 × 120, float32"),
        (IMAGES, "B04", b"GIF89a", "B04: 6 bytes that are not a GeoTIFF"),
        (MAPS, "reference_map", _map_with(777), r"\[777\] are not codes of CLC 2018"),
        (MAPS, "reference_map", _map_with(0), r"\[0\] are not codes of CLC 2018"),
    ],
    ids=["no band", "no map", "60 x 60", "float", "no TIFF", "code 777", "code 0"],
)
def test_a_bad_patch_is_rejected_by_name(
    record: Path,
    place: Place,
    *,
    sample: Sample,
    victim: str,
    archive: str,
    layer: str,
    content: bytes | None,
    reason: str,
) -> None:
    rewrite(record / archive, lambda name, old: content if name.endswith(f"/{victim}_{layer}.tif") else old)
    with pytest.raises(
        RejectedError,
        match=rf"at most 0 rejected patches, found 1 of {sample.patches} \({victim}: .*{reason}.*"
        "set max_rejected to 1",
    ):
        start(record, place)
    assert nothing_published(place)


def test_a_rejected_patch_is_left_out_where_that_is_allowed(
    record: Path, place: Place, sample: Sample, victim: str
) -> None:
    rewrite(record / IMAGES, lambda name, old: None if name.endswith(f"/{victim}_B03.tif") else old)
    with pytest.raises(RejectedError, match=victim):
        start(record, place)
    done = start(record, place, max_rejected=1)
    assert (done["patches"], done["rejected"]) == (sample.patches - 1, 1)
    card = require_whole(place.destination)
    assert [one["patch_id"] for one in card["rejected"]] == [victim]
    asked_for = {name.split("/")[2] for name, _ in members(sample.folder / MAPS)}
    assert {*patch_ids(place.destination, "images"), victim} == asked_for
    assert len(patch_ids(place.destination, "images")) == len(asked_for) - 1


def test_a_patch_that_only_the_metadata_knows_is_rejected(
    record: Path, place: Place, sample: Sample, victim: str
) -> None:
    for archive in (IMAGES, MAPS):
        rewrite(record / archive, lambda name, old: None if f"/{victim}/" in name else old)
    with pytest.raises(RejectedError, match=rf"found 1 of {sample.patches} \({victim}: missing"):
        start(record, place)


def test_a_patch_that_only_the_images_know_is_rejected(record: Path, place: Place, victim: str) -> None:
    for path in record.glob("*.parquet"):
        path.unlink()
    rewrite(record / MAPS, lambda name, old: None if f"/{victim}/" in name else old)
    with pytest.raises(RejectedError, match=rf"{victim}: no reference map and no metadata of it"):
        start(record, place)


def test_a_tile_that_only_the_images_know_is_rejected(record: Path, place: Place, sample: Sample) -> None:
    for path in record.glob("*.parquet"):
        path.unlink()
    last = sample.tiles[-1]
    count = len({name for name, _ in members(record / MAPS) if f"/{last}/" in name})
    rewrite(record / MAPS, lambda name, old: None if f"/{last}/" in name else old)
    with pytest.raises(RejectedError, match=rf"found {count} of .*{last}_.._..: no reference map"):
        start(record, place)


# what the person asks for


@pytest.mark.parametrize(
    ("selection", "message"),
    [
        ({"tiles": ["*_T99ZZZ"]}, r"tiles = \('\*_T99ZZZ',\), found none; the source has 4 tiles \(S2"),
        ({"countries": ["Kosovo"]}, r"match countries = \('Kosovo',\), found none; .* countries Austria"),
    ],
)
def test_a_selection_that_matches_nothing_says_what_there_is(
    sample: Sample, place: Place, selection: dict[str, Any], message: str
) -> None:
    with pytest.raises(SelectionError, match=message):
        start(sample.folder, place, selection=selection)


def test_a_split_without_metadata(record: Path, place: Place) -> None:
    for path in record.glob("*.parquet"):
        path.unlink()
    with pytest.raises(SelectionError, match=r"put metadata\.parquet beside the archives"):
        start(record, place, selection={"splits": ["test"]})


@pytest.mark.parametrize(
    ("rendering", "message"),
    [
        ({"reflectance_max": 0}, r"rendering\.reflectance_max: .*greater than or equal to 1"),
        (
            {"stretch": "percentile", "percentiles": [98, 2]},
            "the first must be below the second, .*not 98 and 2",
        ),
    ],
)
def test_a_rendering_that_cannot_be(
    sample: Sample, place: Place, rendering: dict[str, Any], message: str
) -> None:
    with pytest.raises(ParameterTypeError, match=message):
        start(sample.folder, place, rendering=rendering)
    assert not place.work.exists()


# places


def test_a_source_that_is_no_folder(place: Place, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=f"expected a record id, .* found no folder at {tmp_path}/none"):
        start(tmp_path / "none", place)


def test_a_folder_without_an_archive(record: Path, place: Place) -> None:
    (record / IMAGES).unlink()
    with pytest.raises(SourceError, match=rf"expected {IMAGES} in .*, found {MAPS}, metadata"):
        start(record, place)


def test_metadata_that_is_no_parquet(record: Path, place: Place) -> None:
    replace(record / "metadata.parquet", b"patch_id,labels\n")
    with pytest.raises(SourceError, match=r"metadata\.parquet: this is not a metadata file"):
        start(record, place)


@pytest.mark.parametrize("which", ["destination", "work folder"])
def test_a_folder_that_cannot_be_written(sample: Sample, tmp_path: Path, which: str) -> None:
    (tmp_path / "file").write_text("in the way")
    below, good = tmp_path / "file" / "below", tmp_path / "good"
    place = Place(good, below) if which == "destination" else Place(below, good)
    with pytest.raises(DestinationError, match=f"to write the {which} {below}, found: Not a directory"):
        start(sample.folder, place)


def test_a_bucket_is_no_work_folder(sample: Sample, tmp_path: Path) -> None:
    with pytest.raises(DestinationError, match=r"expected a folder, .* found 's3://bucket/prefix'"):
        prepare(source=str(sample.folder), destination=str(tmp_path), work_dir="s3://bucket/prefix")


def test_a_work_folder_inside_the_destination(sample: Sample, tmp_path: Path) -> None:
    with pytest.raises(DestinationError, match="apart from each other"):
        start(sample.folder, Place(tmp_path / "one" / "work", tmp_path / "one"))


@pytest.mark.parametrize("transfer", ["keep", "stream"])
def test_too_little_disk_is_told_before_anything_is_fetched(
    sample: Sample, place: Place, transfer: str
) -> None:
    name = IMAGES if transfer == "keep" else MAPS
    with RecordServer(sample.folder) as server:
        server.sizes[name] = 10**15
        with pytest.raises(
            SpaceError, match=r"expected 909\.5 TiB of free disk space for the record's files"
        ):
            start(server.record_url, place, transfer=transfer)
        assert [request.name for request in server.requests] == ["record"]


def test_too_little_disk_for_what_is_made(
    sample: Sample, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = 2 * sum(path.stat().st_size for path in sample.folder.iterdir()) // 5
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": free}))
    with pytest.raises(SpaceError, match=r"of free disk space for archives, shards and the dataset in"):
        start(sample.folder, place)
    assert place.files("tiles/*") == []


def test_another_file_named_as_the_card_is_left_alone(sample: Sample, place: Place) -> None:
    place.destination.mkdir()
    (place.destination / "dataset.json").write_text('{"mine": 1}')
    with pytest.raises(SourceError, match=r"dataset\.json: expected a card of format .* move it away"):
        start(sample.folder, place)
    assert read_card(place.destination) == {"mine": 1}


def test_what_was_published_before_a_failure_stays(record: Path, place: Place, victim: str) -> None:
    start(record, place)
    before = Published.read(place.destination)
    rewrite(record / IMAGES, lambda name, old: None if f"/{victim}/" in name else old)
    with pytest.raises(RejectedError, match=victim):
        start(record, place)
    assert Published.read(place.destination) == before
