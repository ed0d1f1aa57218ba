import json
from collections.abc import Callable
from typing import Any

import pytest
from bigearthnet.source.old.zenodo import parse_record, record_url
from hypothesis import given
from hypothesis import strategies as st

from bigearthnet.errors import SourceError

IMAGES, MAPS = "BigEarthNet-S2.tar.zst", "Reference_Maps.tar.zst"
URL = "https://zenodo.org/api/records/10891137"
API = "https://zenodo.org/api/records/{}"


@pytest.mark.parametrize(
    "source",
    [
        "10891137",
        " 10891137\n",
        "https://zenodo.org/records/10891137",
        "https://zenodo.org/record/10891137",
        "http://zenodo.org/records/10891137/",
        "https://www.zenodo.org/records/10891137",
        "https://zenodo.org/records/10891137?preview=1",
        "https://zenodo.org/records/10891137#files",
        "https://zenodo.org/records/10891137/files/BigEarthNet-S2.tar.zst?download=1",
        "https://zenodo.org/api/records/10891137",
        "https://zenodo.org/doi/10.5281/zenodo.10891137",
        "10.5281/zenodo.10891137",
        "10.5281/ZENODO.10891137",
        "doi:10.5281/zenodo.10891137",
        "DOI: 10.5281/zenodo.10891137",
        "https://doi.org/10.5281/zenodo.10891137",
        "https://dx.doi.org/10.5281/zenodo.10891137",
    ],
)
def test_every_way_to_write_a_record_leads_to_its_json(source: str) -> None:
    assert record_url(source) == URL


@pytest.mark.parametrize(
    "source",
    [
        "http://127.0.0.1:8080/api/records/7",
        "https://example.org/10.5281/zenodo.10891137",
        "https://zenodo.org.example.org/records/10891137",
        "https://zenodo.org/communities/bigearth",
        "https://zenodo.org/records/10891137x",
    ],
)
def test_other_urls_are_asked_as_they_are(source: str) -> None:
    assert record_url(source) == source


@pytest.mark.parametrize(
    "source",
    ["", "data", "/data/10891137", "10891137/", "C:\\data", "s3://bucket/x", "ftp://a/b", "https://", "१२३"],
)
def test_anything_else_is_a_folder(source: str) -> None:
    assert record_url(source) is None


@given(
    st.integers(0, 10**12), st.sampled_from(["{}", "doi:10.5281/zenodo.{}", "https://zenodo.org/records/{}"])
)
def test_ids_are_kept_as_they_are(number: int, form: str) -> None:
    assert record_url(form.format(number)) == API.format(number)


@given(st.text())
def test_any_text_has_an_answer(source: str) -> None:
    url = record_url(source)
    assert url is None or url.lower().startswith(("http://", "https://"))


def zenodo_json() -> dict[str, Any]:
    """What Zenodo answers for the record, cut to what matters and a little more."""
    return {
        "id": 10891137,
        "conceptrecid": "10891136",
        "created": "2024-11-07T13:22:52+00:00",
        "metadata": {"title": "BigEarthNet v2.0", "version": "2.0.0", "access_right": "open"},
        "links": {"latest": "https://zenodo.org/api/records/10891137/versions/latest"},
        "files": [
            a_file(IMAGES, 63_251_710_377, "2245ed2d1a93f6ce637d839bc856396e"),
            a_file(MAPS, 282_391_301, "95D85A222FA983FADDCAC51A19F28917"),
            a_file("metadata.parquet", 3_616_349, "55687065e77b6d0b0f1ff604a6e7b49c"),
            a_file("BigEarthNet-S1.tar.zst", 9, "a55eaa2cdf6a917e296bd6601ec1e348"),
        ],
    }


def a_file(key: str, size: int, md5: str) -> dict[str, Any]:
    return {
        "id": "0d9a",
        "key": key,
        "size": size,
        "checksum": f"md5:{md5}",
        "links": {"self": f"https://zenodo.org/api/records/10891137/files/{key}/content"},
    }


def test_a_record_is_read() -> None:
    record = parse_record(json.dumps(zenodo_json()).encode(), URL)
    assert (record.kind, record.record_id) == ("zenodo", "10891137")
    assert (record.version, record.title) == ("2.0.0", "BigEarthNet v2.0")
    assert [file.name for file in record.files] == [IMAGES, MAPS, "metadata.parquet"]
    images, maps = record.require(IMAGES), record.require(MAPS)
    assert images.size == 63_251_710_377
    assert images.md5 == "2245ed2d1a93f6ce637d839bc856396e"
    assert images.location == f"https://zenodo.org/api/records/10891137/files/{IMAGES}/content"
    assert not images.is_local
    assert maps.md5 == "95d85a222fa983faddcac51a19f28917", "md5s are compared in lower case"


def test_version_and_title_may_be_missing() -> None:
    document = zenodo_json()
    document["metadata"] = {"version": None}
    record = parse_record(json.dumps(document).encode(), URL)
    assert (record.version, record.title) == ("", "")
    del document["metadata"]
    assert parse_record(json.dumps(document).encode(), URL) == record


def test_files_of_other_names_are_passed_over() -> None:
    document = zenodo_json()
    document["files"][3]["checksum"] = "sha256:00"
    assert parse_record(json.dumps(document).encode(), URL).file("BigEarthNet-S1.tar.zst") is None


Change = Callable[[dict[str, Any]], object]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.pop("id"), "found at id: Field required"),
        (lambda d: d.pop("files"), "found at files: Field required"),
        (lambda d: d["files"][0].update(size=-1), r"found at files\.0\.size: .*greater than or equal to 0"),
        (lambda d: d["files"][0].pop("checksum"), r"found at files\.0\.checksum: Field required"),
        (lambda d: d["files"][1].pop("links"), r"found at files\.1\.links: Field required"),
        (lambda d: d.update(files=[]), f"to hold {IMAGES} and {MAPS} once, found no files"),
        (lambda d: d["files"].pop(1), f"to hold {MAPS} once, found {IMAGES}, metadata.parquet"),
        (lambda d: d["files"].append(d["files"][0]), f"once, found {IMAGES}, .*, {IMAGES}"),
        (lambda d: d["files"][0].update(checksum="sha256:" + "0" * 64), "as md5:<32 .*found 'sha256:0000"),
        (lambda d: d["files"][0].update(checksum="md5:" + "g" * 32), "as md5:<32 .*found 'md5:gggg"),
        (lambda d: d["files"][0].update(checksum="md5:" + "0" * 31), "as md5:<32 .*found 'md5:0000"),
        (lambda d: d["files"][0].update(checksum="2" * 32), "as md5:<32 .*found '2222"),
        (lambda d: d["files"][3].update(key="../metadata.parquet"), r"plain file names .*'\.\./metadata"),
        (lambda d: d["files"][3].update(key="a\\b"), "plain file names"),
        (lambda d: d["files"][0]["links"].update(self="/etc/passwd"), "over http or https, found '/etc/pass"),
        (lambda d: d["files"][0]["links"].update(self="file:///x"), "over http or https, found 'file:///x'"),
    ],
)
def test_what_is_no_such_record_is_refused(change: Change, message: str) -> None:
    document = zenodo_json()
    change(document)
    with pytest.raises(SourceError, match=message):
        parse_record(json.dumps(document).encode(), URL)


@pytest.mark.parametrize("document", [b"", b"<!doctype html>", b'{"id": 1', b"\xff\xfe", b"[" * 100_000])
def test_what_is_no_json_is_refused(document: bytes) -> None:
    with pytest.raises(
        SourceError, match=rf"expected the JSON of a Zenodo record at {URL}, found .*10891137"
    ):
        parse_record(document, URL)


def test_a_token_in_the_url_is_not_told() -> None:
    with pytest.raises(SourceError) as caught:
        parse_record(b"[]", "https://person:secret1@zenodo.org/api/records/7?token=secret2#secret3")
    assert "https://zenodo.org/api/records/7" in str(caught.value)
    assert "secret" not in str(caught.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["id", "files", "key", "size", "checksum", "links", "self"]), inner)
    ),
    max_leaves=12,
)


@given(JSON)
def test_any_json_is_a_record_or_refused(value: object) -> None:
    with pytest.raises(SourceError):
        parse_record(json.dumps(value).encode(), URL)
