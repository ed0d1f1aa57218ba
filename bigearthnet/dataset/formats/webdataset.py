"""Tars for WebDataset: of each patch `<id>.image.png`, `<id>.mask.png` and `<id>.json`, one after the other.

Source: https://github.com/webdataset/webdataset. What precedes the first dot is the key that members of a
sample share; ids have no dots. Headers are ustar (POSIX.1-1988), with fixed times and owners.
"""

import json
import tarfile
from pathlib import Path

from bigearthnet.dataset.formats.samples import Sample


class TarWriter:
    """Writes a tar; the same samples give the same bytes."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")

    def add(self, sample: Sample) -> None:
        """Append a patch."""
        facts = json.dumps(sample.facts, default=str)  # dates as ISO 8601
        contents = {"image.png": sample.image, "mask.png": sample.mask, "json": facts.encode()}
        for ending, data in contents.items():
            # Not TarFile.addfile, which keeps what it knows of each member.
            info = tarfile.TarInfo(f"{sample.facts['patch_id']}.{ending}")
            info.size = len(data)
            filling = bytes(-len(data) % tarfile.BLOCKSIZE)
            self._file.write(info.tobuf(tarfile.USTAR_FORMAT) + data + filling)

    def close(self) -> None:
        """Write the end, two blocks of zeros, and close the file."""
        with self._file:
            self._file.write(bytes(2 * tarfile.BLOCKSIZE))


def tar_name(split: str, nth: int, _files: int) -> str:
    """Return the name of the tar with that index."""
    return f"{split}-{nth:06}.tar"
