"""Read a dataset that bigearthnet-prefect has published: images and masks for segmentation, by index.

    from bigearthnet_reader import BigEarthNet

    train = BigEarthNet("sample-dataset", split="train")
    image, mask = train[0]

This file needs numpy, pyarrow and OpenCV only. Copy it into your project, or import it.

PNGs are read by their offsets, so that the zips are neither unpacked nor opened: any number of processes and
threads can read, also those of PyTorch's DataLoader. All rows take 13 MB.
"""

import itertools
import json
import os
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import fs

Array = npt.NDArray[Any]
Transform = Callable[[Array, Array], Any]

CARD, MANIFEST = "dataset.json", "manifest.parquet"
IMAGES, MASKS = "bigearthnet_pngs.zip", "bigearthnet_mask_pngs.zip"
IGNORE_INDEX = 255
_COLUMNS = {
    "image_offset": np.uint64,
    "image_size": np.uint32,
    "mask_offset": np.uint64,
    "mask_size": np.uint32,
}


class BigEarthNet:
    """A split of a dataset: `dataset[i]` is `(image, mask)`, or what `transform` makes of them.

    image: uint8, RGB, (120, 120, 3). mask: uint8, (120, 120): indices of `class_names`, and `ignore_index`
    where there is no class, for every form of masks.

    Args:
        root: the dataset's folder, `s3://bucket/prefix`, or the file of presigned links that `share` wrote.
        split: `train`, `validation` (or `val`), `test`; None for all patches.
        classes: names of the classes to tell apart, in the order of their indices; others are ignored.
        transform: called with image and mask.
    """

    ignore_index = IGNORE_INDEX

    def __init__(
        self,
        root: str | os.PathLike[str],
        split: str | None = None,
        classes: Sequence[str] | None = None,
        transform: Transform | None = None,
    ) -> None:
        self.split = "validation" if split == "val" else split
        self.transform = transform
        self._files = _open(str(root))
        self.card = json.loads(self._files.read(CARD))
        self._form_classes = [c for c in self.card["mask_classes"] if c["value"] != self.card["ignore_index"]]
        names = [entry["name"] for entry in self._form_classes]
        self.class_names = list(classes) if classes is not None else names
        if unknown := set(self.class_names) - set(names):
            raise ValueError(f"there is no class {sorted(unknown)}; the dataset has {names}")
        self._table = np.full(1000, IGNORE_INDEX, np.uint8)  # from values of masks to indices
        for entry in self._form_classes:
            if entry["name"] in self.class_names:
                self._table[entry["value"]] = self.class_names.index(entry["name"])
        self._rows = self._read_rows()

    def __len__(self) -> int:
        return len(self._rows[0])

    def __getitem__(self, index: int) -> Any:
        image_offset, image_size, mask_offset, mask_size = (int(column[index]) for column in self._rows)
        image = _decode(self._files.read(IMAGES, image_offset, image_size))[..., ::-1]
        mask = self._table[_decode(self._files.read(MASKS, mask_offset, mask_size))]
        image = np.ascontiguousarray(image)
        return (image, mask) if self.transform is None else self.transform(image, mask)

    @property
    def mean(self) -> Array:
        """Mean of red, green, blue over the training images, 0 to 255: float32, (3,)."""
        return np.array(self._moments["mean"], np.float32)

    @property
    def std(self) -> Array:
        """Standard deviation of red, green, blue over the training images: float32, (3,)."""
        return np.array(self._moments["std"], np.float32)

    @property
    def _moments(self) -> dict[str, Any]:
        images: dict[str, Any] = self.card["images"]
        found: dict[str, Any] = images.get("train", images["all"])
        return found

    def class_weights(self, kind: str = "inverse") -> Array:
        """Return a weight for each class, for a loss: float32; 0 for classes that the training masks lack.

        Args:
            kind: `inverse` or `median_frequency`, as in the dataset's card.
        """
        weights = {c["name"]: c["weights"][kind] for c in self._form_classes if c["weights"]}
        return np.array([weights.get(name, 0.0) for name in self.class_names], np.float32)

    def manifest(self, columns: Sequence[str] | None = None) -> Any:
        """Read the manifest's rows of this split, in the order of the indices, as a pyarrow Table."""
        filters = None if self.split is None else [("split", "=", self.split)]
        with _FORKS:
            return pq.read_table(self._files.open(MANIFEST), columns=columns, filters=filters)

    def _read_rows(self) -> list[Array]:
        """Offsets and sizes of all patches of the split, a row group at a time."""
        with _FORKS, pq.ParquetFile(self._files.open(MANIFEST)) as file:
            columns = [np.empty(file.metadata.num_rows, dtype) for dtype in _COLUMNS.values()]
            filled = 0
            for group in range(file.num_row_groups):
                rows = file.read_row_group(group, columns=["split", *_COLUMNS], use_threads=False)
                if self.split is not None:
                    rows = rows.filter(pc.equal(rows.column("split"), self.split))
                for column, name in zip(columns, _COLUMNS, strict=True):
                    column[filled : filled + len(rows)] = rows.column(name).to_numpy()
                filled += len(rows)
        if not filled:
            counts = self.card["counts"]["splits"]
            raise ValueError(f"the dataset has no patches of split {self.split!r}, but {counts}")
        return [column[:filled] for column in columns]


def _decode(png: bytes) -> Array:
    pixels = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise OSError("not a PNG. Is the dataset another one than when it was opened?")
    return pixels


class _Folder:
    def __init__(self, root: str) -> None:
        self._root = root

    def open(self, name: str) -> str:
        return os.path.join(self._root, name)  # noqa: PTH118 - what pyarrow takes

    def read(self, name: str, offset: int = 0, size: int = -1) -> bytes:
        with open(self.open(name), "rb", buffering=0) as file:  # noqa: PTH123 - a fifth faster
            file.seek(offset)
            return file.read(size)


class _Forks:
    """Forks wait for the end of each block that is in use, and new blocks for the end of a fork.

    pyarrow's S3 client holds a lock while it reads. A child that was forked meanwhile would wait for ever.
    """

    def __init__(self) -> None:
        self._entry = threading.Lock()
        self._left = threading.Condition()
        self._used = 0
        if hasattr(os, "register_at_fork"):  # not on Windows
            os.register_at_fork(before=self._pause, after_in_parent=self._go_on, after_in_child=self._go_on)

    def __enter__(self) -> None:
        with self._entry, self._left:
            self._used += 1

    def __exit__(self, *exception: object) -> None:
        with self._left:
            self._used -= 1
            self._left.notify_all()

    def _pause(self) -> None:
        self._entry.acquire()
        self._left.acquire()
        self._left.wait_for(lambda: not self._used)

    def _go_on(self) -> None:
        self._left.release()
        self._entry.release()


_FORKS = _Forks()


class _Bucket:
    """Each process opens the files itself: pyarrow's S3 client cannot be used after a fork."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._opened: dict[tuple[int, str], Any] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {"_url": self._url, "_opened": {}}

    def open(self, name: str) -> Any:
        key = os.getpid(), name
        if key not in self._opened:
            place, _, query = self._url.partition("?")
            found, path = fs.FileSystem.from_uri(f"{place.rstrip('/')}/{name}?{query}".rstrip("?"))
            self._opened[key] = found.open_input_file(path)
        return self._opened[key]

    def read(self, name: str, offset: int = 0, size: int = -1) -> bytes:
        with _FORKS:
            file = self.open(name)
            data: bytes = file.read_at(file.size() if size < 0 else size, offset)
        return data


class _Links:
    def __init__(self, path: str) -> None:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
        named = itertools.pairwise(lines)
        self._urls = {name[2:]: url for name, url in named if url.startswith(("http://", "https://"))}

    def open(self, name: str) -> Any:
        return pa.BufferReader(self.read(name))

    def read(self, name: str, offset: int = 0, size: int = -1) -> bytes:
        request = urllib.request.Request(self._urls[name])
        if size >= 0:
            request.add_header("Range", f"bytes={offset}-{offset + size - 1}")
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                if size >= 0 and answer.status != HTTPStatus.PARTIAL_CONTENT:
                    raise OSError(f"{name}: the server does not send parts of a file")
                data: bytes = answer.read()
        except urllib.error.HTTPError as error:
            words = f"{name}: {error.code} {error.reason}. Links end: share the dataset again."
            raise OSError(words) from None
        return data


def _open(root: str) -> Any:
    if root.startswith("s3://"):
        return _Bucket(root)
    return _Links(root) if Path(root).is_file() else _Folder(root)
