"""What the tests of whole flows share."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from bigearthnet.source.old.http import Patience

from bigearthnet.sample.archives import Sample
from tasks import policy
from tests.support.published import Published
from tests.support.record_server import RecordServer
from tests.support.runs import Place, start


@pytest.fixture(autouse=True)
def quick(prefect_server: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Seconds become hundredths: patience over the network, and the waits between a task's retries."""
    patience = Patience(connect_seconds=5, stall_seconds=0.5, tries=2, backoff_seconds=0.01)
    monkeypatch.setattr(policy, "PATIENCE", patience)
    waits = list(policy.RETRY_DELAYS)
    policy.RETRY_DELAYS[:] = [0.01] * len(waits)  # in place: the tasks were made with this list
    yield
    policy.RETRY_DELAYS[:] = waits


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place.below(tmp_path)


@pytest.fixture
def server(sample: Sample) -> Iterator[RecordServer]:
    """The sample as a record over HTTP."""
    with RecordServer(sample.folder) as server:
        yield server


@pytest.fixture(scope="session")
def undisturbed(prefect_server: None, sample: Sample, tmp_path_factory: pytest.TempPathFactory) -> Published:
    """What a run from the record gives when all goes well."""
    place = Place.below(tmp_path_factory.mktemp("undisturbed"))
    with RecordServer(sample.folder) as server:
        start(server.record_url, place)
    return Published.read(place.destination)
