"""Links to files in a bucket of a real S3 server, used by somebody without any credentials."""

import json
import logging
import re
import stat
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import botocore.auth
import pytest
import urllib3
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import Artifact
from prefect.exceptions import ParameterTypeError

from bigearthnet.errors import SelectionError, StoreError
from flows.share import share
from tests.support.places import new_bucket
from tests.support.published import CARD, IMAGES_ZIP, MANIFEST, MASKS_ZIP
from tests.support.runs import Home, save_block
from tests.support.s3_server import S3Server
from tests.support.sample import Sample

pytestmark = pytest.mark.e2e

SIGNATURE = re.compile("X-Amz-Signature=([0-9a-f]{64})")


@pytest.fixture(scope="module")
def home(
    prefect_server: None, s3_server: S3Server, sample: Sample, tmp_path_factory: pytest.TempPathFactory
) -> Home:
    """A dataset in a bucket."""
    home = Home(tmp_path_factory.mktemp("home"), new_bucket(s3_server.client()), save_block(s3_server))
    home.prepare(sample.folder, selection={"max_patches": 2})
    return home


@pytest.fixture
def links_file(tmp_path: Path) -> Path:
    return tmp_path / "private" / "links.txt"


def run(home: Home, links_file: Path, **parameters: Any) -> Any:
    wanted = {"source": home.url, "links_file": str(links_file), "aws_credentials": home.block}
    return share(**(wanted | parameters))


def read_links(path: Path) -> dict[str, str]:
    """The links by the names above them."""
    lines = path.read_text().splitlines()
    return {above.removeprefix("# "): line for above, line in pairwise(lines) if line[:4] == "http"}


def get(url: str) -> urllib3.BaseHTTPResponse:
    """As anybody would: no credentials, no boto3."""
    return urllib3.request("GET", url, retries=False, timeout=10)


def artifacts() -> list[Artifact]:
    with get_client(sync_client=True) as client:
        return [artifact for artifact in client.read_artifacts() if artifact.key == "links"]


def test_anybody_with_a_link_can_download(home: Home, links_file: Path) -> None:
    contents = home.files()
    before = datetime.now(UTC).replace(microsecond=0)
    done = run(home, links_file)
    after = datetime.now(UTC)
    links = read_links(links_file)
    assert list(links) == [IMAGES_ZIP, MASKS_ZIP, MANIFEST, CARD]
    for name, url in links.items():
        answer = get(url)
        assert (answer.status, answer.data) == (200, contents[name])
        assert "Content-Disposition" not in answer.headers
    assert (done["count"], done["links_file"], len(done)) == (4, str(links_file), 3)
    ends_at = datetime.fromisoformat(done["expires_at"])
    assert before <= ends_at - timedelta(hours=1) <= after
    assert stat.S_IMODE(links_file.stat().st_mode) == 0o600
    run(home, links_file, files=["*.zip"], expires_minutes=720, download_name="alps")
    links = read_links(links_file)
    assert {parse_qs(urlsplit(url).query)["X-Amz-Expires"][0] for url in links.values()} == {str(720 * 60)}
    names = {name: get(url).headers["Content-Disposition"] for name, url in links.items()}
    assert names == {name: f'attachment; filename="alps-{name}"' for name in (IMAGES_ZIP, MASKS_ZIP)}


@pytest.mark.parametrize(("minutes_ago", "status"), [(59, 200), (61, 403)])
def test_a_link_ends_when_it_says(
    home: Home, monkeypatch: pytest.MonkeyPatch, minutes_ago: int, status: int
) -> None:
    signed_at = datetime.now(UTC) - timedelta(minutes=minutes_ago)
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda: signed_at.replace(tzinfo=None))
    assert get(home.place.open().presign(CARD, 60, "")).status == status


def test_no_link_is_shown_where_it_was_not_asked_for(
    home: Home, links_file: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    before = {artifact.id for artifact in artifacts()}
    with caplog.at_level(logging.INFO):
        state = run(home, links_file, return_state=True)
    signatures = [SIGNATURE.findall(url)[0] for url in read_links(links_file).values()]
    assert len(set(signatures)) == 4
    with get_client(sync_client=True) as client:
        shown = client.read_flow_run(state.state_details.flow_run_id).model_dump_json()
        shown += "".join(run.model_dump_json() for run in client.read_task_runs())
    shown += json.dumps(state.result()) + caplog.text + "".join(capfd.readouterr()) + str(state)
    assert "4 links, valid until " in caplog.text
    assert f"The links are in {links_file}" in caplog.text
    assert not [signature for signature in [*signatures, "X-Amz-Signature"] if signature in shown]
    assert {artifact.id for artifact in artifacts()} == before


def test_links_are_shown_to_whom_asked(
    home: Home, links_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = {artifact.id for artifact in artifacts()}
    with caplog.at_level(logging.INFO):
        run(home, links_file, show_in_ui=True)
    (shown,) = [artifact for artifact in artifacts() if artifact.id not in before]
    assert (shown.type, shown.key) == ("markdown", "links")
    for name, url in read_links(links_file).items():
        written = name.replace("_", "\\_")  # in Markdown
        assert f"- [{written}]({url})" in str(shown.data).splitlines()
    assert "X-Amz-Signature" not in caplog.text


def test_what_is_not_published_gets_no_link(s3_server: S3Server, home: Home, links_file: Path) -> None:
    home.place.put("secret.txt", b"not of the dataset")
    with pytest.raises(SelectionError, match=rf"secret\.txt, \.\./\*.*{IMAGES_ZIP}"):
        run(home, links_file, files=["secret.txt", "../*", IMAGES_ZIP])
    wrong = save_block(s3_server, aws_secret_access_key="wrong")  # noqa: S106
    with pytest.raises(StoreError, match="Check the keys"):
        run(home, links_file, aws_credentials=wrong)
    assert not links_file.exists()


@pytest.mark.parametrize(
    "wrong",
    [
        {"expires_minutes": 721},
        {"files": []},
        {"download_name": 'x"; y="'},
        {"download_name": "x\r\nSet-Cookie: y"},
    ],
    ids=str,
)
def test_what_no_link_can_be_made_of_is_refused(home: Home, links_file: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(ParameterTypeError, match=next(iter(wrong))):
        run(home, links_file, **wrong)
    with pytest.raises(StoreError, match="Name a file"):
        run(home, links_file.parent.parent)
    assert not links_file.exists()
