"""What the tests of whole flows share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.places import new_bucket
from tests.support.published import Published
from tests.support.record_server import RecordServer
from tests.support.runs import Home, hurry, save_block
from tests.support.sample import Sample, make_sample


@pytest.fixture
def quick(prefect_server: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests that run flows in this process."""
    hurry(monkeypatch.setattr)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """An empty one in folders."""
    return Home.folder(tmp_path / "home")


@pytest.fixture
def bucket_home(request: pytest.FixtureRequest, tmp_path: Path) -> Home:
    """An empty one in a bucket."""
    server = request.getfixturevalue("s3_server")
    return Home(tmp_path / "home" / "work", new_bucket(server.client()), save_block(server))


@pytest.fixture(params=["folder", "bucket"])
def any_home(request: pytest.FixtureRequest) -> Home:
    found: Home = request.getfixturevalue("home" if request.param == "folder" else "bucket_home")
    return found


@pytest.fixture
def server(sample: Sample) -> Iterator[RecordServer]:
    """The sample as a record over HTTP."""
    with RecordServer(sample.folder) as server:
        yield server


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RecordServer]:
    """A record of 3 patches in 2 tiles, for tests of many runs."""
    sample = make_sample(tmp_path_factory.mktemp("small") / "record", 1, 2)
    with RecordServer(sample.folder) as server:
        yield server


@pytest.fixture(scope="session")
def undisturbed(prefect_server: None, sample: Sample, tmp_path_factory: pytest.TempPathFactory) -> Published:
    """What a run from the record gives when all goes well."""
    home = Home.folder(tmp_path_factory.mktemp("undisturbed"))
    with RecordServer(sample.folder) as server:
        home.prepare(server.record_url)
    return Published.read(home.destination)


@pytest.fixture(scope="session")
def prepared_codes(prefect_server: None, sample: Sample, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a dataset of the whole sample, with CLC codes as masks; not to be changed."""
    home = Home.folder(tmp_path_factory.mktemp("prepared-codes"))
    done = home.prepare(sample.folder, rendering={"mask_classes": "clc"})
    assert done["destination"] == str(home.destination)
    assert (done["patches"], done["rejected"]) == (sample.patches, 0)
    return home.destination
