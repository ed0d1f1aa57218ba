"""What all tests share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.pipeline import prepare
from tests.support.sample import Sample, make_sample

pytest_plugins = ("tests.support.places", "tests.support.transfers")


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[None]:
    """A Prefect server of this session's own."""
    # Imported here: the unit tests do without Prefect, and its import takes longer than many of them.
    from prefect import settings  # noqa: PLC0415
    from prefect.testing.utilities import prefect_test_harness  # noqa: PLC0415

    with (
        prefect_test_harness(server_startup_timeout=120),
        # Neither is looked at by a test, and both take time at the end of each run.
        settings.temporary_settings(
            {settings.PREFECT_LOGGING_TO_API_ENABLED: False, settings.PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}
        ),
    ):
        yield


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    """A record of 24 patches in 4 tiles, in a folder; not to be changed."""
    return make_sample(tmp_path_factory.mktemp("sample") / "record", 3, 5, 7, 9)


@pytest.fixture(scope="session")
def published_sample(sample: Sample, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a dataset of the whole sample, with ben19 masks; not to be changed."""
    folder = tmp_path_factory.mktemp("published") / "dataset"
    prepare(sample.folder, folder)
    return folder


@pytest.fixture(scope="session")
def published_codes(sample: Sample, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with CLC codes as masks, which have 16 bits; not to be changed."""
    folder = tmp_path_factory.mktemp("published-codes") / "dataset"
    prepare(sample.folder, folder, rendering={"mask_classes": "clc"})
    return folder
