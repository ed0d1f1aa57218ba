"""Parquet files with embedded images, as Hugging Face datasets and its hub read them.

Source: https://huggingface.co/docs/datasets/image_dataset: an image is a struct of `bytes` and `path`. The
schema's metadata `huggingface` says which columns are images.
"""

import json
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from bigearthnet.dataset import manifest
from bigearthnet.dataset.formats.samples import FACTS, Sample
from bigearthnet.plan.recipe import KINDS
from bigearthnet.tile.rows import SUFFIXES

_PNG: Final = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
_PNGS: Final = ("image", "mask")
_FEATURES: Final = {"info": {"features": {name: {"_type": "Image"} for name in _PNGS}}}
_SCHEMA: Final = pa.schema(
    [*((name, _PNG) for name in _PNGS), *(manifest.SCHEMA.field(name) for name in FACTS)],
    metadata={"huggingface": json.dumps(_FEATURES)},
)
_ROWS_A_GROUP: Final = 100  # some 2 MB, as a hub's viewer and shuffling readers take a row group at a time


class ParquetWriter:
    """Writes a Parquet file; the same samples give the same bytes."""

    def __init__(self, path: Path) -> None:
        # PNGs cannot be made smaller, and each occurs once.
        self._file = pq.ParquetWriter(path, _SCHEMA, compression="none", use_dictionary=list(FACTS))
        self._rows: list[dict[str, Any]] = []

    def add(self, sample: Sample) -> None:
        """Append a patch."""
        names = [f"{sample.facts['patch_id']}{SUFFIXES[kind]}" for kind in KINDS]
        pngs = zip(_PNGS, (sample.image, sample.mask), names, strict=True)
        self._rows.append(
            {**{column: {"bytes": data, "path": name} for column, data, name in pngs}, **sample.facts}
        )
        if len(self._rows) == _ROWS_A_GROUP:
            self._write()

    def close(self) -> None:
        """Write the last rows and the footer, and close the file."""
        if self._rows:
            self._write()
        self._file.close()

    def _write(self) -> None:
        self._file.write_table(pa.Table.from_pylist(self._rows, _SCHEMA))
        self._rows = []


def parquet_name(split: str, nth: int, files: int) -> str:
    """Return the name of the file with that index, of so many."""
    return f"{split}-{nth:05}-of-{files:05}.parquet"
