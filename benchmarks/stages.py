"""CPU of each stage of a run, beside its floor: the bare calls of the libraries that do its work."""

import hashlib
import io
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import zstandard
from zlib_ng import zlib_ng

from bigearthnet.archive.bundle import Bundles, Extractor, TileRequest, patch_files
from bigearthnet.archive.reader import ArchiveReader, decompress
from bigearthnet.classes import clc_positions, mask_values
from bigearthnet.dataset.publish import ZipDigest
from bigearthnet.names import IMAGES_ARCHIVE, IMAGES_ROOT, MAP, MAPS_ARCHIVE, MAPS_ROOT, RGB_BANDS, Root
from bigearthnet.options import Rendering
from bigearthnet.plan.recipe import KINDS, Kind
from bigearthnet.source.download import md5_of
from bigearthnet.store import FolderStore
from bigearthnet.tile.convert import Conversion, convert_tile, rows_file
from bigearthnet.tile.png import deflate
from bigearthnet.tile.raster import decode
from bigearthnet.tile.render import reflectance_table, render_image, render_mask
from bigearthnet.tile.rows import SCHEMAS, read_rows, write_rows
from bigearthnet.zips.shard import ShardWriter

Act = Callable[[], object]
_TURNS = 9
_BUFFER = 1 << 18
_RENDERING = Rendering()
_BANDS = RGB_BANDS[_RENDERING.bands]
_ARCHIVES: tuple[tuple[str, Root], ...] = ((IMAGES_ARCHIVE, IMAGES_ROOT), (MAPS_ARCHIVE, MAPS_ROOT))


@dataclass(frozen=True, slots=True)
class Figure:
    """Microseconds of CPU a patch: of this project, and of the bare libraries."""

    ours: float
    floor: float

    @property
    def ratio(self) -> float:
        """How many times its floor a stage takes."""
        return self.ours / self.floor


def measure(sample: Path, folder: Path) -> dict[str, Figure]:
    """Measure the stages of a run for a sample of one tile; `folder` takes what is made of it."""
    with extractor(sample) as opened:
        patch_ids = [patch_id for patch_id, _ in groupby(read[0].patch_id for read in opened.images)]
    stages = _Stages(sample, folder, patch_ids)
    acts = {
        "md5 of the archive": (stages.md5, stages.bare_md5),
        "decompress, walk the tar, check names": (stages.read_archive, stages.bare_zstd),
        "extract a bundle": (stages.extract, stages.bare_extract),
        "read a bundle": (stages.read_bundle, stages.bare_read),
        "decode": (stages.decode, stages.bare_decode),
        "image: stretch, statistics, PNG": (stages.images, stages.bare_images),
        "mask: look-up, counts, PNG": (stages.masks, stages.bare_masks),
        "shards and digests": (stages.shards, stages.bare_shards),
        "rows": (stages.rows, stages.bare_rows),
        "convert a tile": (stages.convert, stages.bare_convert),
    }
    return {name: _figure(*both, len(patch_ids)) for name, both in acts.items()}


def _figure(ours: Act, floor: Act, patches: int) -> Figure:
    """Least of several turns, in which both take turns: what else goes on only adds to it."""
    turns = [(_microseconds(ours), _microseconds(floor)) for _ in range(_TURNS)]
    return Figure(*(min(column) / patches for column in zip(*turns, strict=True)))


def _microseconds(act: Act) -> float:
    began = time.thread_time()
    act()
    return 1e6 * (time.thread_time() - began)


@contextmanager
def extractor(sample: Path) -> Iterator[Extractor]:
    """Open both archives of a sample."""
    with ExitStack() as stack:
        images, maps = (
            ArchiveReader(decompress(stack.enter_context((sample / name).open("rb"))), root, name)
            for name, root in _ARCHIVES
        )
        yield Extractor(images, maps, _BANDS)


class _Stages:
    """What each stage does for all patches, and what it needs; made once."""

    def __init__(self, sample: Path, folder: Path, patch_ids: Sequence[str]) -> None:
        self._sample, self._folder, self._ids = sample, folder, patch_ids
        self._archive = sample / IMAGES_ARCHIVE
        self._bundles = self.extract()
        self._blocks = self._bundles.images.read_bytes()  # type: ignore[union-attr]
        self._files = list(patch_files(self._bundles, patch_ids))
        self._bands = [[decode(files[band], band) for band in _BANDS] for files in self._files]
        self._codes = [decode(files[MAP], MAP) for files in self._files]
        self._pngs: Mapping[Kind, list[bytes]] = {"images": self.images(), "masks": self.masks()}
        self._residuals = {kind: [_residuals(png) for png in pngs] for kind, pngs in self._pngs.items()}
        self.convert()
        self._tables = {kind: read_rows(folder / rows_file(kind), SCHEMAS[kind], "", "") for kind in KINDS}
        self._dicts = {kind: table.to_pylist() for kind, table in self._tables.items()}

    def md5(self) -> object:
        store = FolderStore(self._sample)
        stored = store.head(IMAGES_ARCHIVE)
        assert stored is not None  # noqa: S101
        return md5_of(store.open(stored), lambda _: None)

    def bare_md5(self) -> object:
        with self._archive.open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()

    def read_archive(self) -> object:
        with extractor(self._sample) as opened:
            return sum(1 for _ in opened.images)

    def bare_zstd(self) -> None:
        """Decompress into one buffer again and again: the least that zstandard needs."""
        buffer = memoryview(bytearray(1 << 17))
        with self._archive.open("rb") as file, zstandard.ZstdDecompressor().stream_reader(file) as stream:
            while stream.readinto(buffer):
                pass

    def extract(self) -> Bundles:
        tile = self._ids[0][:-6]
        with extractor(self._sample) as opened:
            request = TileRequest(tile, self._ids, self._ids, None, complete=True, last=True)
            return opened.extract(request, self._folder)

    def bare_extract(self) -> None:
        self.bare_zstd()
        (self._folder / "bare").write_bytes(self._blocks)

    def read_bundle(self) -> object:
        return sum(1 for _ in patch_files(self._bundles, self._ids))

    def bare_read(self) -> None:
        buffer = memoryview(bytearray(_BUFFER))
        with self._bundles.images.open("rb", buffering=0) as file:  # type: ignore[union-attr]
            while file.readinto(buffer):
                pass

    def decode(self) -> None:
        for files in self._files:
            for band in _BANDS:
                decode(files[band], band)
            decode(files[MAP], MAP)

    def bare_decode(self) -> None:
        for files in self._files:
            for band in _BANDS:
                np.frombuffer(files[band], "<u2", 14_400, 396).reshape(120, 120)
            strips = b"".join(zlib_ng.decompress(strip) for strip in _strips(files[MAP]))
            np.frombuffer(strips, "<u2").reshape(120, 120).cumsum(axis=1, dtype=np.uint32).astype(np.uint16)

    def images(self) -> list[bytes]:
        return [render_image(bands, _RENDERING)[0] for bands in self._bands]

    def bare_images(self) -> None:
        table = reflectance_table(_RENDERING.reflectance_max)[np.newaxis]
        for bands, residuals in zip(self._bands, self._residuals["images"], strict=True):
            cv2.merge([cv2.LUT(band, table) for band in bands])
            deflate(residuals, zlib_ng.Z_HUFFMAN_ONLY)

    def masks(self) -> list[bytes]:
        return [render_mask(codes, _RENDERING, MAP)[0] for codes in self._codes]

    def bare_masks(self) -> None:
        values = mask_values(_RENDERING.mask_classes).astype(np.uint8)[np.newaxis]
        for codes, residuals in zip(self._codes, self._residuals["masks"], strict=True):
            positions = cv2.LUT(codes, clc_positions()[np.newaxis])
            cv2.calcHist([positions], [0], None, [46], [0, 46])
            cv2.LUT(positions, values)
            deflate(residuals, zlib_ng.Z_RLE)

    def shards(self) -> None:
        store = FolderStore(self._folder)
        for pngs in self._pngs.values():
            path = self._folder / "shard"
            with ShardWriter(path) as writer:
                for patch_id, png in zip(self._ids, pngs, strict=True):
                    writer.add(f"{patch_id}.png", png)
            ZipDigest().add(path, store)

    def bare_shards(self) -> None:
        for pngs in self._pngs.values():
            path, digest = self._folder / "bare", hashlib.sha256()
            with path.open("wb", buffering=1 << 20) as file:
                for png in pngs:
                    file.write(png)
                    digest.update(png)
                    zlib_ng.crc32(png)

    def rows(self) -> None:
        for kind in KINDS:
            write_rows(self._dicts[kind], kind, self._folder / "rows")

    def bare_rows(self) -> None:
        for table in self._tables.values():
            pq.write_table(table, io.BytesIO(), compression="zstd")

    def convert(self) -> object:
        conversion = Conversion(self._ids[0][:-6], self._ids, KINDS, {}, {})
        return convert_tile(conversion, self._bundles, _RENDERING, self._folder)

    def bare_convert(self) -> None:
        self.bare_read()
        self.bare_decode()
        self.bare_images()
        self.bare_masks()
        self.bare_shards()
        self.bare_rows()


def _strips(tiff: bytes) -> Iterator[bytes]:
    """The strips of a published reference map: four offsets at byte 234, their sizes at 218."""
    offsets, sizes = (np.frombuffer(tiff, "<u4", 4, at).tolist() for at in (234, 218))
    for start, size in zip(offsets, sizes, strict=True):
        yield tiff[start : start + size]


def _residuals(png: bytes) -> np.ndarray:
    """The filtered rows of a PNG with one IDAT."""
    start = png.index(b"IDAT") + 4
    size = int.from_bytes(png[start - 8 : start - 4])
    return np.frombuffer(zlib_ng.decompress(png[start : start + size]), np.uint8)
