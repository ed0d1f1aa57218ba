"""The parsers of what is read from files: archives, images, documents, tables and notes."""

import fcntl
import io
import json
import tarfile
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final, cast

import numpy as np
import pyarrow.parquet as pq
import zstandard

from bigearthnet.archive.bundle import index_archive
from bigearthnet.archive.reader import ArchiveReader, decompress
from bigearthnet.archive.tar import BLOCK, walk
from bigearthnet.dataset import copies
from bigearthnet.dataset.layout import CARD, MANIFEST, TILES
from bigearthnet.dataset.published import find_published, require_published, sha256_of, tile_rows
from bigearthnet.dataset.tiles import TileCache
from bigearthnet.names import MAP, MAPS_ARCHIVE, MAPS_ROOT, METADATA_FILE, Patch
from bigearthnet.plan.metadata import read_metadata
from bigearthnet.plan.recipe import KINDS
from bigearthnet.sample.archives import TILES as SAMPLE_TILES
from bigearthnet.sample.archives import draw_patch
from bigearthnet.source.http import Http
from bigearthnet.source.record import ARCHIVES
from bigearthnet.source.stored import StoredSource
from bigearthnet.source.stream import Mark
from bigearthnet.source.zenodo import ZenodoSource
from bigearthnet.store import FolderStore
from bigearthnet.store.disk import known_digest, note_digest
from bigearthnet.store.folder_lock import lock_folder
from bigearthnet.store.s3.lock import owner_of
from bigearthnet.store.s3.lock_owner import LockOwner, start_of
from bigearthnet.store.s3.prefix import SmallObject
from bigearthnet.tile import ConvertedTile, Rejected
from bigearthnet.tile.raster import decode, georeference
from bigearthnet.tile.rows import members, write_rows
from bigearthnet.zips.join import CentralDirectory
from fuzz.mutate import mended, mutate_bytes, mutate_json
from fuzz.run import Target
from tests.support.pipeline import prepare
from tests.support.rasters import geotiff
from tests.support.sample import make_sample

_TILE: Final = next(iter(SAMPLE_TILES))
_PATCH: Final = Patch(_TILE, 45, 45)
_OUTPUT_CHUNKS: Final = 64
"""Chunks that are read of a zstd stream: its time grows with its output, its memory must not."""


def tar(_: Path) -> Target:
    """Members of a tar stream."""
    seeds, gnu, pax = [], tarfile.GNU_FORMAT, tarfile.PAX_FORMAT
    for form, name in ((gnu, "x"), (gnu, "x" * 300), (pax, "é" * 99)):
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode="w", format=form) as archive:
            for i, size in enumerate((0, 5, 512, 600)):
                info = tarfile.TarInfo(f"{name}/{i}")
                info.size, info.mtime = size, 1.5
                archive.addfile(info, io.BytesIO(b"y" * size))
        seeds.append(file.getvalue())
    mutate = mended(mutate_bytes, _mend_tar)
    return Target(seeds, lambda data: [member.content for member in walk(_cut(data))], mutate)


def archive(folder: Path) -> Target:
    """Members of an archive of the record, with their names and order checked."""
    with (_record(folder) / MAPS_ARCHIVE).open("rb") as file:
        seeds = [b"".join(decompress(file))[:20_480] + bytes(2 * BLOCK)]

    def parse(data: bytes) -> None:
        index_archive(ArchiveReader(_cut(data), MAPS_ROOT, MAPS_ARCHIVE))

    return Target(seeds, parse, mended(mutate_bytes, _mend_tar))


def zstd(folder: Path) -> Target:
    """A zstd stream, of which the first 16 MiB are read."""
    content = b"".join(bytes([i % 7]) * (i % 50) for i in range(2000))
    seeds = [zstandard.ZstdCompressor(level, write_checksum=level > 3).compress(content) for level in (1, 19)]
    long = zstandard.ZstdCompressionParameters(window_log=27, enable_ldm=True)
    seeds += [
        zstandard.ZstdCompressor(compression_params=long).compress(bytes(1 << 26)),
        (_record(folder) / MAPS_ARCHIVE).read_bytes()[:8192],
        b"\x50\x2a\x4d\x18\4\0\0\0skip" + seeds[0] + seeds[1],  # a skippable frame, and two more
    ]
    return Target(seeds, lambda data: sum(map(len, islice(decompress(io.BytesIO(data)), _OUTPUT_CHUNKS))))


def tiff(_: Path) -> Target:
    """Pixels of a GeoTIFF."""
    return Target(_geotiffs(), lambda data: decode(data, "a patch"))


def geo(_: Path) -> Target:
    """Place of a GeoTIFF."""
    return Target(_geotiffs(), lambda data: georeference(data, _PATCH))


def zenodo(_: Path) -> Target:
    """A record of Zenodo, and its latest version."""
    url = "https://zenodo.org/api/records/10891137"
    names = enumerate((*ARCHIVES, METADATA_FILE, "README.md"))
    common = {"size": 5, "links": {"self": f"{url}/files/x/content"}}
    files = [{"key": name, "checksum": f"md5:{i:032x}", **common} for i, name in names]
    links = {"latest": f"{url}/versions/latest"}
    seed = {"id": 10891137, "metadata": {"title": "T", "version": "2"}, "links": links, "files": files}

    def parse(data: bytes) -> None:
        source = ZenodoSource(url, cast(Http, SimpleNamespace(document=lambda _: data)))
        source.record()
        str(source.latest())

    return Target([_dump(seed)], parse, mutate_json)


def record(folder: Path) -> Target:
    """The description of a mirror."""
    mirror = folder / "mirror"
    mirror.mkdir(exist_ok=True)
    for name in ARCHIVES:
        (mirror / name).write_bytes(b"12345")
    files = [{"name": name, "size": 5, "md5": f"{i:032x}"} for i, name in enumerate(ARCHIVES)]
    seed = {"kind": "zenodo", "record_id": "1", "version": "2", "title": "T", "files": files}

    def parse(data: bytes) -> None:
        (mirror / "record.json").write_bytes(data)
        StoredSource(FolderStore(mirror)).record()

    return Target([_dump(seed)], parse, mutate_json)


def card(folder: Path) -> Target:
    """The card of a dataset, whose files are as it says, read to copy a tile and by the next run."""
    dataset, target = _dataset(folder), FolderStore(folder / "copies")

    def parse(data: bytes) -> None:
        (dataset / CARD).write_bytes(data)
        _copy_tiles(dataset, target)
        _find_tiles(dataset, folder)

    return Target([(dataset / CARD).read_bytes()], parse, mutate_json)


def manifest(folder: Path) -> Target:
    """The manifest of a dataset, whose card has its size and digest."""
    dataset, target = _dataset(folder, max_patches=1), FolderStore(folder / "copies")
    description = json.loads((dataset / CARD).read_bytes())
    (entry,) = (file for file in description["files"] if file["name"] == MANIFEST)

    def parse(data: bytes) -> None:
        (dataset / MANIFEST).write_bytes(data)
        entry.update(size=len(data), sha256=sha256_of(dataset / MANIFEST))
        (dataset / CARD).write_bytes(_dump(description))
        _copy_tiles(dataset, target)
        _find_tiles(dataset, folder)

    return Target(_parquets(dataset / MANIFEST), parse)


def tile(folder: Path) -> Target:
    """The description of a tile that is not published yet."""
    cache, path = _unpublished(folder)

    def parse(data: bytes) -> None:
        (path / "tile.json").write_bytes(data)
        cache().find("masks", _TILE, "key", "")

    return Target([(path / "tile.json").read_bytes()], parse, mutate_json)


def rows(folder: Path) -> Target:
    """The rows of a tile that is not published yet."""
    cache, path = _unpublished(folder)
    description = json.loads((path / "tile.json").read_bytes())

    def parse(data: bytes) -> None:
        (path / "rows.parquet").write_bytes(data)
        (path / "tile.json").write_bytes(_dump({**description, "rows_size": len(data)}))
        shard = cache().find("masks", _TILE, "key", "")
        if shard is not None:
            CentralDirectory().add(members(cache().rows(shard), "masks"))

    return Target(_parquets(path / "rows.parquet"), parse)


def metadata(folder: Path) -> Target:
    """The record's metadata."""
    path = folder / METADATA_FILE

    def parse(data: bytes) -> None:
        path.write_bytes(data)
        read_metadata([path])

    return Target(_parquets(_record(folder) / METADATA_FILE), parse)


def notes(folder: Path) -> Target:
    """The note of a file's digest."""
    file, places = folder / "file", folder / "notes"
    note_digest(file, "5-1-2", "0" * 64, places)
    (note,) = places.iterdir()

    def parse(data: bytes) -> None:
        note.write_bytes(data)
        known_digest(file, "5-1-2", places)

    return Target([note.read_bytes()], parse)


def lock(folder: Path) -> Target:
    """The content of the lock of a prefix, and of that of a folder, which another run has."""
    path = folder / ".lock"
    owner = LockOwner(name="run a (process 5 on b)", id="0" * 32, machine="b", process=5, started="7")

    def parse(data: bytes) -> None:
        found = owner_of(SmallObject(data, "etag", 0))
        if found is not None:
            start_of(found.process)
        path.write_bytes(data)
        with path.open("rb") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            with lock_folder(path, "another run"):
                raise AssertionError

    return Target([owner.model_dump_json().encode()], parse, mutate_json)


FILES: Final = (
    tar,
    archive,
    zstd,
    tiff,
    geo,
    zenodo,
    record,
    card,
    manifest,
    tile,
    rows,
    metadata,
    notes,
    lock,
)


def _dump(document: object) -> bytes:
    return json.dumps(document).encode()


def _cut(data: bytes) -> Iterator[bytes]:
    return (data[i : i + 4096] for i in range(0, len(data), 4096))


def _mend_tar(data: bytes) -> bytes:
    """Write the right checksum into what looks like a header."""
    blocks = bytearray(data)
    for start in range(0, len(data) - BLOCK + 1, BLOCK):
        header = data[start : start + BLOCK]
        if header[257:262] == b"ustar":
            total = sum(header) - sum(header[148:156]) + 8 * ord(" ")
            blocks[start + 148 : start + 156] = b"%06o\0 " % total
    return bytes(blocks)


def _geotiffs() -> Sequence[bytes]:
    ramp = np.add.outer(np.arange(120, dtype=np.uint16), np.arange(120, dtype=np.uint16))
    layouts: tuple[dict[str, Any], ...] = (
        *({"compress": method} for method in ("deflate", "lzw", "packbits", "zstd", "lzma", "lerc")),
        *({"compress": "deflate", **more} for more in ({"ENDIANNESS": "BIG"}, {"BIGTIFF": "YES"})),
        {"compress": "deflate", "tiled": True, "blockxsize": 64, "blockysize": 64, "points": True},
        {"compress": "lzw", "NBITS": 12},
    )
    drawn = draw_patch(_PATCH)[1]
    return [drawn[MAP], drawn["B04"], *(geotiff(ramp, **layout) for layout in layouts)]


def _parquets(path: Path) -> Sequence[bytes]:
    """Return a file as it is, and written so that its values are not compressed."""
    plain = io.BytesIO()
    pq.write_table(pq.read_table(path), plain, compression="none", use_dictionary=False)
    return [path.read_bytes(), plain.getvalue()]


def _record(folder: Path) -> Path:
    path = folder.parent / "record"
    if not path.exists():
        make_sample(path, 2, 1)
    return path


def _dataset(folder: Path, **selection: Any) -> Path:
    path = folder / "dataset"
    prepare(_record(folder), path, **selection)
    return path


def _copy_tiles(dataset: Path, target: FolderStore) -> None:
    source = FolderStore(dataset)
    published = require_published(source)
    _, entries = copies.choose(published.card, (), ["*"])
    for entry in entries:
        table = tile_rows(dataset / MANIFEST, published.card, entry.tile)
        for kind in KINDS:
            copies.copy_tile(kind, entry, table, source, published, target)


def _find_tiles(dataset: Path, folder: Path) -> None:
    store = FolderStore(dataset)
    cache = TileCache(store, find_published(store), folder, streams=False)
    for kind in KINDS:
        for key in cache.keys_in_zip(kind):
            shard = cache.find(kind, _TILE, key, "")
            if shard is not None:
                members(cache.rows(shard), kind)


def _unpublished(folder: Path) -> Any:
    made, store = folder / "made", FolderStore(folder / "unpublished")
    made.mkdir(exist_ok=True)
    common = {"mask_size": 1, "mask_crc32": 2, "class_pixels": [{"value": 1, "pixels": 9}]}
    listed = [{"patch_id": f"{_TILE}_00_0{i}", **common} for i in range(3)]
    write_rows(listed, "masks", made / "masks.parquet")
    (made / "masks.shard").write_bytes(b"shard")

    def cache() -> TileCache:
        return TileCache(store, None, folder, streams=True)

    converted = ConvertedTile(_TILE, 3, (Rejected(f"{_TILE}_00_09", "bad"),))
    cache().add("masks", "key", converted, Mark(7, "0" * 32), made)
    return cache, folder / "unpublished" / TILES / "key"
