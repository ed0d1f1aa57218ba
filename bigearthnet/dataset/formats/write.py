"""Write the files of formats, each below a folder of the format's name."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from bigearthnet.dataset.card import Card, PublishedFile
from bigearthnet.dataset.draft import Draft
from bigearthnet.dataset.formats.parquet import ParquetWriter, parquet_name
from bigearthnet.dataset.formats.samples import Sample, shuffled, write_runs
from bigearthnet.dataset.formats.webdataset import TarWriter, tar_name
from bigearthnet.dataset.layout import MANIFEST
from bigearthnet.dataset.published import Published
from bigearthnet.options import FormatName
from bigearthnet.store.disk import translate_os_errors

_MEGABYTE: Final = 1_000_000


class Writer(Protocol):
    """Writes one file."""

    def add(self, sample: Sample) -> None:
        """Append a patch."""

    def close(self) -> None:
        """Complete the file."""


@dataclass(frozen=True, slots=True)
class Format:
    """How files of a format are written and named."""

    open: Callable[[Path], Writer]
    name: Callable[[str, int, int], str]  # by split, index, and number of files of the split


_FORMATS: Final[Mapping[FormatName, Format]] = {
    "webdataset": Format(TarWriter, tar_name),
    "parquet": Format(ParquetWriter, parquet_name),
}


def write_files(draft: Draft, formats: Sequence[FormatName], scratch: Path) -> Iterator[tuple[str, Path]]:
    """Yield name and path of each file as it is complete; it may be removed then.

    Patches are read once for all formats. At most one file for each format and split is in `scratch`. The
    files of a split have equally many patches, to within one.

    Raises:
        ArchiveError: the PNGs in the store are not those of the manifest.
    """
    if not formats:
        return
    packaging, runs = draft.card.parameters.packaging, scratch / "runs.arrow"
    with translate_os_errors("write", scratch):
        totals = write_runs(draft, runs)
    limit = packaging.shard_megabytes * _MEGABYTE
    files = {split: -(-size // limit) for split, size in totals.size.items()}
    done, writers = dict.fromkeys(files, 0), dict[tuple[FormatName, str], Writer]()
    try:
        for sample in shuffled(draft, runs, packaging.shuffle_seed):
            split = sample.split
            nth = done[split] * files[split] // totals.patches[split]
            done[split] += 1
            complete = done[split] * files[split] // totals.patches[split] > nth
            for name in formats:
                path = scratch / f"{name}-{split}"
                with translate_os_errors("write", scratch):
                    if (name, split) not in writers:
                        writers[name, split] = _FORMATS[name].open(path)
                    writers[name, split].add(sample)
                    if complete:
                        writers.pop((name, split)).close()
                if complete:
                    yield f"{name}/{_FORMATS[name].name(split, nth, files[split])}", path
    finally:
        for writer in writers.values():
            with suppress(OSError):  # of a full disk, which is on its way already
                writer.close()


def keep_files(published: Published | None, card: Card) -> dict[FormatName, list[PublishedFile]]:
    """Return the files of formats that would be made again with the same bytes, by format."""
    if published is None:
        return {}
    old, wanted = published.card, card.parameters.packaging
    made = old.parameters.packaging
    same_order = made.model_copy(update={"formats": wanted.formats}) == wanted
    if not (same_order and old.software == card.software and card.file(MANIFEST) in old.files):
        return {}
    kept = {
        name: [file for file in old.files if file.name.startswith(f"{name}/")]
        for name in wanted.formats
        if name in made.formats
    }
    return {name: files for name, files in kept.items() if published.intact.keys() >= {f.name for f in files}}
