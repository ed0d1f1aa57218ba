"""The reader of published datasets, compared with zipfile and rasterio, in threads and processes."""

import json
import multiprocessing
import pickle
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bigearthnet.classes import BEN19, MASK_FORMS
from examples.bigearthnet_reader import BigEarthNet
from tests.support import archives
from tests.support.pipeline import prepare
from tests.support.places import BucketPlace
from tests.support.published import MANIFEST, ZIPS, member
from tests.support.reading import read_pixels
from tests.support.record_server import Fault, RecordServer
from tests.support.sample import Sample

pytestmark = pytest.mark.integration
READER = Path(__file__).parents[2] / "examples/bigearthnet_reader.py"


@pytest.fixture(scope="module")
def expected(published_sample: Path) -> dict[str, list[tuple[Any, Any]]]:
    """Image and mask of each patch by split, by way of the zips' members."""
    found: dict[str, list[tuple[Any, Any]]] = {"train": [], "validation": [], "test": []}
    for row in pq.read_table(published_sample / MANIFEST).to_pylist():
        image, mask = (
            archives.pixels(member(published_sample, kind, row["patch_id"])) for kind in ("images", "masks")
        )
        found[row["split"]].append((image.transpose(1, 2, 0), mask[0]))
    return found


def require_same(dataset: BigEarthNet, pairs: list[tuple[Any, Any]]) -> None:
    assert len(dataset) == len(pairs)
    for i, (image, mask) in enumerate(pairs):
        np.testing.assert_array_equal(dataset[i][0], image)
        np.testing.assert_array_equal(dataset[i][1], mask)
        assert dataset[i][0].flags.c_contiguous


@pytest.fixture(scope="module")
def links(
    published_sample: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Path, RecordServer]]:
    """A file of links as `share` writes it, to a server of files."""
    path = tmp_path_factory.mktemp("links") / "links.txt"
    with RecordServer(published_sample) as server:
        names = [zipped for zipped, _ in ZIPS.values()] + [MANIFEST, "dataset.json"]
        lines = ["# Links to files of s3://bucket/x. They end soon."]
        for name in names:
            lines += ["", f"# {name}", server.file_url(name)]
        path.write_text("\n".join(lines) + "\n")
        yield path, server


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_a_split_is_read_from_a_folder_and_by_links(
    published_sample: Path, links: tuple[Path, RecordServer], expected: Any, split: str
) -> None:
    require_same(BigEarthNet(published_sample, split), expected[split])
    require_same(BigEarthNet(links[0], split), expected[split])


def test_val_is_validation_and_no_split_is_all(published_sample: Path, expected: Any) -> None:
    require_same(BigEarthNet(published_sample, "val"), expected["validation"])
    assert len(BigEarthNet(published_sample)) == 24
    with pytest.raises(ValueError, match=r"no patches of split 'tests', but \{'train'"):
        BigEarthNet(published_sample, "tests")


@pytest.mark.parametrize("method", ["fork", "spawn", "threads"])
def test_workers_of_any_kind_read_the_same(published_sample: Path, expected: Any, method: str) -> None:
    dataset, pairs = BigEarthNet(published_sample, "train"), expected["train"]
    dataset[0]
    pool = (
        ThreadPoolExecutor(8)
        if method == "threads"
        else ProcessPoolExecutor(4, multiprocessing.get_context(method))
    )
    asked = [*range(len(pairs))] * 40
    with pool:
        found = list(pool.map(partial(read_pixels, dataset), asked, chunksize=10))
    sums = [(int(image.sum()), int(mask.sum())) for image, mask in pairs]
    assert found == [sums[i] for i in asked]


@pytest.fixture
def bucket_url(published_sample: Path, bucket: BucketPlace, monkeypatch: pytest.MonkeyPatch) -> str:
    """The published sample in a bucket, which this process and its children may read."""
    for path in published_sample.iterdir():
        if path.is_file():
            bucket.put(path.name, path.read_bytes())
    endpoint = bucket.client.meta.endpoint_url.removeprefix("http://")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test:tester")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    return f"s3://{bucket.bucket}/{bucket.prefix}?endpoint_override={endpoint}&scheme=http&region=us-east-1"


def test_a_bucket_is_read_also_by_workers_of_any_kind(bucket_url: str, expected: Any) -> None:
    dataset = BigEarthNet(bucket_url, "train")
    require_same(dataset, expected["train"])
    sums = [(int(image.sum()), int(mask.sum())) for image, mask in expected["train"]]
    for method in ("fork", "spawn"):
        with ProcessPoolExecutor(2, multiprocessing.get_context(method)) as pool:
            assert list(pool.map(partial(read_pixels, dataset), range(len(dataset)))) == sums


def test_workers_that_are_forked_while_threads_read_a_bucket_read_too(bucket_url: str) -> None:
    dataset, ended = BigEarthNet(bucket_url, "train"), threading.Event()

    def read_until_the_end() -> None:
        while not ended.is_set():
            dataset[0]

    with ThreadPoolExecutor(3) as threads:
        reading = [threads.submit(read_until_the_end) for _ in range(3)]
        for _ in range(5):
            worker = multiprocessing.get_context("fork").Process(target=dataset.__getitem__, args=(1,))
            worker.start()
            worker.join(30)
            status = worker.exitcode
            worker.kill()
            if status != 0:
                break
        ended.set()
    assert status == 0, "it hangs" if status is None else "it failed"
    assert [one.exception() for one in reading] == [None] * 3


def test_links_that_have_ended_are_named(links: tuple[Path, RecordServer]) -> None:
    path, server = links
    dataset = BigEarthNet(path)
    name = ZIPS["images"][0]
    server.faults[name] = [Fault(status=403)]
    with pytest.raises(OSError, match=f"{name}: 403 .*Links end: share the dataset again"):
        dataset[0]
    server.faults[name] = [Fault(ignore_range=True)]
    with pytest.raises(OSError, match="does not send parts of a file"):
        dataset[0]
    server.faults.clear()


@pytest.mark.parametrize("form", MASK_FORMS)
def test_masks_of_every_form_become_indices_of_the_class_names(
    tmp_path: Path, sample: Sample, form: str
) -> None:
    prepare(sample.folder, tmp_path / "d", rendering={"mask_classes": form}, splits=("train",))
    dataset = BigEarthNet(tmp_path / "d", "train")
    card = json.loads((tmp_path / "d" / "dataset.json").read_bytes())
    classes = [entry for entry in card["mask_classes"] if entry["value"] != card["ignore_index"]]
    assert dataset.class_names == [entry["name"] for entry in classes]
    for row, (_, mask) in zip(dataset.manifest(["patch_id"]).to_pylist(), dataset, strict=True):
        values = archives.pixels(member(tmp_path / "d", "masks", row["patch_id"]))[0]
        expected = np.full_like(mask, 255)
        for i, entry in enumerate(classes):
            expected[values == entry["value"]] = i
        np.testing.assert_array_equal(mask, expected)


def test_chosen_classes_are_told_apart_in_their_order(published_sample: Path, expected: Any) -> None:
    names = [name for name, _ in BEN19]
    chosen = ["Pastures", "Arable land"]
    dataset = BigEarthNet(published_sample, "train", classes=chosen)
    everything = BigEarthNet(published_sample, "train").class_weights()
    np.testing.assert_array_equal(dataset.class_weights(), everything[[names.index(name) for name in chosen]])
    for (_, found), (_, mask) in zip(dataset, expected["train"], strict=True):
        np.testing.assert_array_equal(found == 0, mask == names.index("Pastures"))
        np.testing.assert_array_equal(found == 1, mask == names.index("Arable land"))
    with pytest.raises(ValueError, match=r"no class \['Lava'\]"):
        BigEarthNet(published_sample, classes=["Lava"])


def test_mean_std_and_weights_are_those_of_the_training_patches(
    published_sample: Path, expected: Any
) -> None:
    dataset = BigEarthNet(published_sample, "test")
    channels = np.concatenate([image.reshape(-1, 3) for image, _ in expected["train"]]).astype(np.float64)
    np.testing.assert_allclose(dataset.mean, channels.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(dataset.std, channels.std(axis=0), rtol=1e-6)
    masks = np.concatenate([mask.ravel() for _, mask in expected["train"]])
    counts = np.bincount(masks[masks != 255], minlength=19)
    present = counts > 0
    weights = np.zeros(19)
    weights[present] = counts.sum() / (present.sum() * counts[present])
    np.testing.assert_allclose(dataset.class_weights(), weights, rtol=1e-6)


def test_a_transform_gets_image_and_mask(published_sample: Path) -> None:
    plain = BigEarthNet(published_sample, "test")
    flipped = BigEarthNet(published_sample, "test", transform=lambda image, mask: (image[:, ::-1], mask + 1))
    np.testing.assert_array_equal(flipped[2][0], plain[2][0][:, ::-1])
    np.testing.assert_array_equal(flipped[2][1], plain[2][1] + 1)
    again = pickle.loads(pickle.dumps(plain))  # noqa: S301 - our own bytes
    np.testing.assert_array_equal(again[2][0], plain[2][0])


MEMORY = """
import sys
sys.path.insert(0, sys.argv[1])
from bigearthnet_reader import BigEarthNet
def peak():
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmRSS")).split()[1])
few = BigEarthNet(sys.argv[2], "train")
before = peak()
many = BigEarthNet(sys.argv[3], None)
print(len(many), peak() - before)
"""


def test_all_rows_take_less_than_20_mib(published_sample: Path, tmp_path: Path) -> None:
    table = pq.read_table(published_sample / MANIFEST)
    with pq.ParquetWriter(tmp_path / MANIFEST, table.schema, compression="zstd") as writer:
        for _ in range(110):
            writer.write_table(pa.concat_tables([table] * 208))
    (tmp_path / "dataset.json").write_bytes((published_sample / "dataset.json").read_bytes())
    command = [sys.executable, "-c", MEMORY, READER.parent, published_sample, tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    rows, kib = map(int, done.stdout.split())
    assert rows == 110 * 208 * 24
    assert kib < 20 << 10
