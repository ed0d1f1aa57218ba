"""Bundles in a store: found again whole and by those that they serve, or not at all."""

from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from distributed.client import FutureCancelledError
from distributed.scheduler import KilledWorker

from bigearthnet.archive.bundle import Bundles
from bigearthnet.dataset.bundles import BundleCache, fetch
from bigearthnet.dataset.jobs import Job
from bigearthnet.errors import ChecksumError, InstallationError, StoreError, TransferError
from bigearthnet.options import Rendering, Selection
from bigearthnet.plan.recipe import KINDS, Recipe, RecordUsed
from bigearthnet.plan.selection import TilePlan
from bigearthnet.source.record import SourceFile
from bigearthnet.source.stream import Mark
from bigearthnet.store import FolderStore

TILE = "S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP"
MARK = Mark(7, "md5")
NOTHING = Bundles(None, None, ())


def recipe(md5: str = "0" * 32, **rendering: Any) -> Recipe:
    names = ("BigEarthNet-S2.tar.zst", "Reference_Maps.tar.zst")
    files = [SourceFile(name=name, size=9, md5=md5, verification="md5 as in the record") for name in names]
    used = RecordUsed(kind="folder", record="", version="", title="", files=tuple(files))
    return Recipe(used, Selection(), Rendering(**rendering))


def plan(*cells: int, whole: bool = True) -> TilePlan:
    found = np.array(cells, np.uint16)
    return TilePlan(TILE, found, found, whole)


@pytest.fixture
def extracted(tmp_path: Path) -> Bundles:
    """Files as extraction leaves them."""
    paths = [tmp_path / name for name in ("images.tar.zst", "maps.tar.zst")]
    for path in paths:
        path.write_bytes(path.name.encode())
    return Bundles(*paths, (f"{TILE}_09_09",))


def cache_of(
    tmp_path: Path, made: Recipe | None = None, *, keeps: bool = True, streams: bool = True
) -> BundleCache:
    return BundleCache(FolderStore(tmp_path / "d"), made or recipe(), keeps=keeps, streams=streams)


def found(tmp_path: Path, made: Recipe, of: TilePlan, **options: bool) -> set[str]:
    return set(cache_of(tmp_path, made, **options).find(of))


def test_bundles_serve_the_renderings_that_need_no_more_than_they_have(
    tmp_path: Path, extracted: Bundles
) -> None:
    both, here = set(KINDS), plan(1, 2)
    cache_of(tmp_path, keeps=False).add(here, extracted, None)
    assert found(tmp_path, recipe(stretch="minmax", mask_classes="clc"), here, keeps=False) == both
    assert found(tmp_path, recipe(bands="infrared"), here, keeps=False) == {"masks"}
    assert found(tmp_path, recipe(), here) == set(), "they would not be kept"
    kept = cache_of(tmp_path).add(here, extracted, None)
    assert found(tmp_path, recipe(bands="infrared"), here) == both
    assert cache_of(tmp_path, keeps=False).find(here) == kept
    for other in (plan(1), plan(1, 3), plan(1, 2, whole=False)):
        assert found(tmp_path, recipe(), other) == set()
    assert found(tmp_path, recipe(md5="1" * 32), here) == set()
    assert kept["images"].name.startswith(f".bundles/{'0' * 32}/{TILE}-B02-B03-B04-B08-")


def test_bundles_that_are_not_kept_are_dropped(tmp_path: Path, extracted: Bundles) -> None:
    kept = cache_of(tmp_path).add(plan(1), extracted, None)
    passing = cache_of(tmp_path, keeps=False).add(plan(2), extracted, None)
    for stored in (kept, passing):
        cache_of(tmp_path).drop(stored)
    assert found(tmp_path, recipe(), plan(1)) == set(KINDS)
    assert not (tmp_path / "d" / ".tiles").exists()


@pytest.mark.parametrize("ending", [".tar.zst", ".json"])
def test_halves_that_a_killed_run_left_are_not_found_and_removed(
    tmp_path: Path, extracted: Bundles, ending: str
) -> None:
    stored = cache_of(tmp_path).add(plan(1), extracted, None)["images"]
    (tmp_path / "d" / f"{stored.name}{ending}").unlink()
    assert found(tmp_path, recipe(), plan(1)) == {"masks"}
    cache_of(tmp_path).remove_halves()
    left = [file.name for file in FolderStore(tmp_path / "d").list(".bundles/")]
    assert len(left) == 2
    assert not [name for name in left if name.startswith(stored.name)]


def test_the_description_is_written_last(tmp_path: Path, extracted: Bundles) -> None:
    stored = cache_of(tmp_path).add(plan(1), extracted, None)["images"]
    store = FolderStore(tmp_path / "d")
    store.delete([f"{stored.name}.json", f"{stored.name}.tar.zst"])
    (tmp_path / "d" / f"{stored.name}.tar.zst").mkdir()
    with pytest.raises(StoreError, match="there is a folder of that name"):
        cache_of(tmp_path).add(plan(1), extracted, None)
    assert store.head(f"{stored.name}.json") is None


@pytest.mark.parametrize("verified", [True, False])
def test_bundles_of_a_stream_are_for_streams_alone_until_it_is_verified(
    tmp_path: Path, extracted: Bundles, *, verified: bool
) -> None:
    cache_of(tmp_path).add(plan(1), extracted, MARK)
    assert found(tmp_path, recipe(), plan(1), streams=False) == {"masks"}
    cache = cache_of(tmp_path)
    job = Job(plan(1), False, {}, {}, cache.find(plan(1)))
    assert job.marks == [MARK]
    cache.settle(verified=verified)
    assert found(tmp_path, recipe(), plan(1), streams=False) == {"masks", *(["images"] if verified else [])}
    assert found(tmp_path, recipe(), plan(1)) == {"masks", *(["images"] if verified else [])}


def test_a_bundle_is_used_in_place_and_only_as_it_was_stored(tmp_path: Path, extracted: Bundles) -> None:
    store = FolderStore(tmp_path / "d")
    stored = cache_of(tmp_path).add(plan(1), extracted, None)
    path = tmp_path / "d" / f"{stored['images'].name}.tar.zst"
    (tmp_path / "work").mkdir()
    fetched = fetch({"images": stored["images"]}, store, tmp_path / "work", extracted)
    assert fetched.images is not None
    assert fetched.images.samefile(path)
    assert (fetched.maps, fetched.unknown) == (extracted.maps, extracted.unknown)
    Bundles(fetched.images, None, ()).remove()
    assert path.read_bytes() == b"images.tar.zst"
    path.unlink()
    path.write_bytes(b"images.tar.zsT")
    with pytest.raises(ChecksumError, match=rf"^{path} is damaged\. Run again"):
        fetch(stored, store, tmp_path / "work", NOTHING)
    assert found(tmp_path, recipe(), plan(1)) == {"masks"}
    path.unlink()
    with pytest.raises(StoreError, match=r"is not there\. If this is another machine"):
        fetch(stored, store, tmp_path / "work", NOTHING)


def test_a_worker_that_would_make_other_bytes_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    from tasks.convert import convert_on_worker  # noqa: PLC0415 - imports Prefect

    made = recipe()
    job = Job(plan(1), False, {kind: made.key(kind, plan(1)) for kind in KINDS}, {})
    monkeypatch.setattr("bigearthnet.plan.recipe.version", lambda _: "0.0.1")
    with pytest.raises(InstallationError, match="other versions of this project or of zlib-ng"):
        convert_on_worker.fn(job, {}, None, made, "/nowhere", "")


@pytest.mark.parametrize(
    "error",
    [
        FutureCancelledError("convert", "scheduler-connection-lost"),
        KilledWorker("convert", SimpleNamespace(address="tcp://10.0.0.6:1"), 3),  # type: ignore[arg-type]
    ],
)
def test_a_cluster_that_loses_a_tile_is_an_error_of_its_own(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The errors are those that Dask raises where the scheduler, or worker after worker, has died."""
    from tasks import cluster  # noqa: PLC0415 - imports Prefect

    class Lost:
        def result(self) -> None:
            raise error

    monkeypatch.setattr(cluster, "still_running", lambda _: nullcontext())
    with pytest.raises(TransferError, match=f"the cluster lost {TILE}: .*then run again"):
        cluster.Cluster(None, "").wait(Lost(), TILE)  # type: ignore[arg-type]
