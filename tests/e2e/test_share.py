"""Links to files in a bucket of a real S3 server, used by somebody without any credentials."""

import json
import logging
import re
import stat
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlencode, urlsplit, urlunsplit

import botocore.auth
import pytest
import urllib3
from bigearthnet.store.s3.objects import Bucket
from bigearthnet.store.s3.share import sign
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import Artifact
from prefect.exceptions import ParameterTypeError

from bigearthnet.errors import ChecksumError, SelectionError, SourceError
from flows.share import share
from tests.support.cards import SHARDS, TILE, ZIPS, card, files
from tests.support.s3_dataset import Home, save_block
from tests.support.s3_server import S3Server

pytestmark = pytest.mark.e2e
pytest_plugins = ("tests.support.s3_fixtures",)

CONTENTS = files()
DEFAULT = [*ZIPS, "manifest.parquet", "dataset.json"]
SIGNATURE = re.compile("X-Amz-Signature=([0-9a-f]{64})")


def published(server: S3Server) -> Home:
    bucket = server.new_bucket()
    for name, data in CONTENTS.items():
        bucket.write(name, data)
    bucket.write("dataset.json", card(CONTENTS))
    return Home.of(server, bucket)


@pytest.fixture(scope="module")
def home(prefect_server: None, s3_server: S3Server) -> Home:
    """A dataset in a bucket; not to be changed."""
    return published(s3_server)


@pytest.fixture
def own(s3_server: S3Server) -> Home:
    """The same for one test to change."""
    return published(s3_server)


@pytest.fixture
def links_file(tmp_path: Path) -> Path:
    return tmp_path / "private" / "links.txt"


def run(home: Home, links_file: Path, **parameters: Any) -> dict[str, Any]:
    asked = {"source": home.url, "links_file": str(links_file), "aws_credentials": home.block, **parameters}
    done: dict[str, Any] = share(**asked)
    return done


def read_links(path: Path) -> dict[str, str]:
    """The links by the names above them."""
    lines = path.read_text().splitlines()
    return {above.removeprefix("# "): line for above, line in pairwise(lines) if line[:4] == "http"}


def get(url: str) -> urllib3.BaseHTTPResponse:
    """As anybody would: no credentials, no boto3."""
    return urllib3.request("GET", url, retries=False, timeout=10)


def artifacts() -> list[Artifact]:
    with get_client(sync_client=True) as client:
        return client.read_artifacts()


def test_anybody_with_a_link_can_download(home: Home, links_file: Path) -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    done = run(home, links_file)
    after = datetime.now(UTC)
    links = read_links(links_file)
    assert list(links) == DEFAULT
    for name, url in links.items():
        answer = get(url)
        assert (answer.status, answer.data) == (200, {**CONTENTS, "dataset.json": card(CONTENTS)}[name])
        assert "Content-Disposition" not in answer.headers
    assert set(done) == {"count", "expires_at", "links_file"}
    assert (done["count"], done["links_file"]) == (4, str(links_file))
    ends_at = datetime.fromisoformat(done["expires_at"])
    assert before <= ends_at - timedelta(hours=1) <= after
    assert stat.S_IMODE(links_file.stat().st_mode) == 0o600


def test_chosen_files_are_shared_and_replace_the_links_before(home: Home, links_file: Path) -> None:
    run(home, links_file)
    run(home, links_file, files=[f"tiles/*/{TILE}.zip"], expires_minutes=720)
    links = read_links(links_file)
    assert list(links) == [*SHARDS]
    assert all(get(links[name]).data == CONTENTS[name] for name in SHARDS)
    assert {parse_qs(urlsplit(url).query)["X-Amz-Expires"][0] for url in links.values()} == {str(720 * 60)}


@pytest.mark.parametrize(
    ("chosen", "names"),
    [
        ([ZIPS[0]], {ZIPS[0]: 'attachment; filename="alps"'}),
        ([*SHARDS], {name: f'attachment; filename="alps-{name.replace("/", "-")}"' for name in SHARDS}),
    ],
)
def test_a_browser_saves_it_under_the_name(
    home: Home, links_file: Path, chosen: list[str], names: dict[str, str]
) -> None:
    run(home, links_file, files=chosen, download_name="alps")
    found = {name: get(url).headers["Content-Disposition"] for name, url in read_links(links_file).items()}
    assert found == names


def test_a_name_beyond_ascii_arrives(home: Home, links_file: Path) -> None:
    run(home, links_file, files=[ZIPS[0]], download_name="Graubünden.zip")
    answer = get(read_links(links_file)[ZIPS[0]])
    assert answer.headers["Content-Disposition"] == f"attachment; filename*=utf-8''{quote('Graubünden.zip')}"


@pytest.mark.parametrize(("minutes_ago", "status"), [(59, 200), (61, 403)])
def test_a_link_ends_when_it_says(
    home: Home, monkeypatch: pytest.MonkeyPatch, minutes_ago: int, status: int
) -> None:
    signed_at = datetime.now(UTC) - timedelta(minutes=minutes_ago)
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda: signed_at.replace(tzinfo=None))
    (link,) = sign(home.bucket, [ZIPS[0]], 60, "")
    assert link.ends_at == signed_at.replace(microsecond=0) + timedelta(minutes=60)
    assert get(link.url).status == status


@pytest.mark.parametrize(
    "changed",
    [
        {"X-Amz-Expires": "43200"},
        {"X-Amz-Date": "20990101T000000Z"},
        {"X-Amz-Signature": "0" * 64},
        {"response-content-disposition": "attachment"},
    ],
    ids=str,
)
def test_a_link_that_was_changed_is_refused(home: Home, changed: dict[str, str]) -> None:
    (link,) = sign(home.bucket, [ZIPS[0]], 60, "")
    parts = urlsplit(link.url)
    query = {name: values[0] for name, values in parse_qs(parts.query).items()}

    def status(asked: dict[str, str]) -> int:
        return get(urlunsplit(parts._replace(query=urlencode(asked)))).status

    assert status(query) == 200
    assert status(query | changed) in {400, 403}


def test_a_link_to_one_file_opens_no_other(home: Home) -> None:
    (link,) = sign(home.bucket, [ZIPS[0]], 60, "")
    assert get(link.url.replace(ZIPS[0], ZIPS[1])).status == 403
    assert urllib3.request("PUT", link.url, body=b"evil", retries=False).status == 403
    assert get(urlunsplit(urlsplit(link.url)._replace(query=""))).status in {400, 403}


def test_links_of_a_wrong_secret_open_nothing(s3_server: S3Server, home: Home, links_file: Path) -> None:
    wrong = Bucket(s3_server.client(secret_key="wrong"), home.bucket.place)  # noqa: S106
    (link,) = sign(wrong, [ZIPS[0]], 60, "")
    assert get(link.url).status == 403
    block = save_block(s3_server, secret_key="wrong")  # noqa: S106
    with pytest.raises(SourceError, match=r"expected to read .*/dataset\.json, found SignatureDoesNotMatch"):
        run(home, links_file, aws_credentials=block)
    assert not links_file.exists()


def test_no_link_is_told_where_it_was_not_asked_for(
    home: Home, links_file: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    before = {artifact.id for artifact in artifacts()}
    with caplog.at_level(logging.INFO):
        state: Any = share(
            source=home.url, links_file=str(links_file), aws_credentials=home.block, return_state=True
        )
    signatures = [SIGNATURE.findall(url)[0] for url in read_links(links_file).values()]
    assert len(set(signatures)) == 4
    with get_client(sync_client=True) as client:
        run_id = state.state_details.flow_run_id
        told = client.read_flow_run(run_id).model_dump_json()
        told += "".join(run.model_dump_json() for run in client.read_task_runs())
    told += json.dumps(state.result()) + caplog.text + "".join(capfd.readouterr()) + str(state)
    assert "Links to 4 files, until " in caplog.text
    assert f"The links are in {links_file}, which its owner alone can read" in caplog.text
    assert not [signature for signature in signatures if signature in told]
    assert "X-Amz-Signature" not in told
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
        assert f"- [{name}]({url})" in str(shown.data).splitlines()
    assert "X-Amz-Signature" not in caplog.text


def test_what_is_not_published_is_told(own: Home, links_file: Path) -> None:
    own.bucket.write("secret.txt", b"not of the dataset")
    there = (
        rf"choose among {', '.join(map(re.escape, ZIPS))}, manifest\.parquet, dataset\.json, tiles/images/"
    )
    with pytest.raises(SelectionError, match=rf"found none for 'secret\.txt', '\.\./\*'; {there}"):
        run(own, links_file, files=["secret.txt", "../*", ZIPS[0]])
    own.bucket.delete(["dataset.json"])
    with pytest.raises(SourceError, match=r"found no dataset\.json: it is not published \(yet\)"):
        run(own, links_file)
    assert not links_file.exists()


def test_a_file_that_is_gone_or_another_gets_no_link(own: Home, links_file: Path) -> None:
    own.bucket.write(ZIPS[1], b"another")
    with pytest.raises(
        ChecksumError, match=rf"expected {len(CONTENTS[ZIPS[1]])} bytes at .*{ZIPS[1]} .* found 7"
    ):
        run(own, links_file)
    own.bucket.delete([ZIPS[1]])
    with pytest.raises(SourceError, match=rf"/{ZIPS[1]}, which the card names, found no such object"):
        run(own, links_file)
    assert not links_file.exists()
    run(own, links_file, files=[ZIPS[0]])
    assert list(read_links(links_file)) == [ZIPS[0]]


@pytest.mark.parametrize(
    "wrong",
    [
        {"expires_minutes": 0},
        {"expires_minutes": 721},
        {"files": []},
        {"download_name": "../x"},
        {"download_name": 'x"; y="'},
        {"download_name": "x\r\nSet-Cookie: y"},
    ],
    ids=str,
)
def test_what_no_link_can_be_made_of_is_refused(home: Home, links_file: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(ParameterTypeError, match=next(iter(wrong))):
        run(home, links_file, **wrong)
    assert not links_file.exists()
