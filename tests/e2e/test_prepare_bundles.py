"""Bundles that are kept: other renderings start from them, without the archive."""

from pathlib import Path

import pytest

from tests.support.archives import IMAGES, MAPS, members
from tests.support.kept import kept_members, without_bundles
from tests.support.published import Published
from tests.support.record_server import RECORD, Fault, RecordServer
from tests.support.runs import Home
from tests.support.sample import Sample

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("quick")]

OTHER = {"bands": "infrared", "stretch": "percentile", "mask_classes": "clc"}
BANDS = ("_B02.tif", "_B03.tif", "_B04.tif", "_B08.tif", "_reference_map.tif")


def published(home: Home) -> Published:
    return Published.of(without_bundles(home.files()))


@pytest.mark.parametrize(
    ("where", "first", "second"),
    [("folder", {}, {}), ("bucket", {"transfer": "stream"}, {"runner": "dask"})],
)
def test_another_rendering_starts_from_kept_bundles_when_the_archives_are_gone(
    where: str,
    first: dict[str, str],
    second: dict[str, str],
    sample: Sample,
    undisturbed: Published,
    *,
    request: pytest.FixtureRequest,
    tmp_path: Path,
) -> None:
    home: Home = request.getfixturevalue("home" if where == "folder" else "bucket_home")
    from_archive = Home.folder(tmp_path / "from archive")
    with RecordServer(sample.folder) as server:
        home.prepare(server.record_url, keep_bundles=True, **first)
        from_archive.prepare(server.record_url, rendering=OTHER)
        assert published(home) == undisturbed
        wanted = [name for file in (IMAGES, MAPS) for name, _ in members(sample.folder / file)]
        kept = home.files()
        assert kept_members(kept) == sorted(name for name in wanted if name.endswith(BANDS))
        for path in home.work.rglob(IMAGES):
            path.unlink()
        server.faults |= {path.name: [Fault(status=410)] * 99 for path in server.folder.iterdir()}
        server.requests.clear()
        home.prepare(server.record_url, rendering=OTHER, **second)
        assert {one.name for one in server.requests} == {RECORD}
    assert published(home) == Published.read(from_archive.destination)
    assert kept_members(home.files()) == kept_members(kept)


def test_a_damaged_bundle_is_extracted_again(
    server: RecordServer, any_home: Home, undisturbed: Published, caplog: pytest.LogCaptureFixture
) -> None:
    any_home.prepare(server.record_url, rendering=OTHER, keep_bundles=True)
    before = kept_members(any_home.files())
    victim = max(name for name in any_home.files() if name.endswith(".tar.zst"))
    data = bytearray(any_home.files()[victim])
    data[len(data) // 2] ^= 1
    any_home.place.remove(victim)  # a folder may share its bytes with other files
    any_home.place.put(victim, bytes(data))
    any_home.prepare(server.record_url, keep_bundles=True)
    assert f"{victim} is damaged. Run again" in caplog.text
    assert published(any_home) == undisturbed
    assert kept_members(any_home.files()) == before
