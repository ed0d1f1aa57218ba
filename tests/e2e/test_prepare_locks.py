"""Two runs at a time on one folder."""

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from bigearthnet.errors import BusyError
from tests.support.archives import IMAGES
from tests.support.published import Published
from tests.support.record_server import Fault, RecordServer
from tests.support.runs import DEADLINE_SECONDS, Place, start
from tests.support.zygote import Zygote

pytestmark = pytest.mark.e2e


@pytest.fixture
def zygote(prefect_server: None, tmp_path: Path) -> Iterator[Zygote]:
    with Zygote(tmp_path / "log") as zygote:
        yield zygote


def test_a_second_run_says_who_holds_the_folder_until_its_process_is_gone(
    zygote: Zygote, server: RecordServer, place: Place, undisturbed: Published, tmp_path: Path
) -> None:
    server.faults[IMAGES] = [Fault(stall_after=1000)]
    process = zygote.begin(server.record_url, place)
    assert server.stalled.wait(DEADLINE_SECONDS)
    name = re.escape(f"prepare {server.record_url} in {place.destination}")
    holder = (
        rf"to be free, found it held by run {name} \(process {process} on .*wait until that run has ended"
    )
    asked = len(server.requests)
    with pytest.raises(BusyError, match=f"expected the work folder {place.work} {holder}"):
        start(server.record_url, Place(place.work, tmp_path / "elsewhere"))
    with pytest.raises(BusyError, match=f"expected the destination {place.destination} {holder}"):
        start(server.record_url, Place(tmp_path / "other work", place.destination))
    assert len(server.requests) == asked, "a run that must wait asks for nothing"
    os.kill(process, signal.SIGKILL)
    assert zygote.end() == -signal.SIGKILL
    start(server.record_url, place)
    assert Published.read(place.destination) == undisturbed
