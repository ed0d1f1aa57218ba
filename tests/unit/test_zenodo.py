import json
from collections.abc import Callable
from typing import Any

import pytest

from bigearthnet.errors import SourceError
from bigearthnet.source.record import Record, RecordFile
from bigearthnet.source.zenodo import parse_record, record_url

IMAGES, MAPS = "BigEarthNet-S2.tar.zst", "Reference_Maps.tar.zst"
URL = "https://zenodo.org/api/records/10891137"


@pytest.mark.parametrize(
    "text",
    [
        "10891137",
        " 10891137\n",
        "https://zenodo.org/records/10891137",
        "https://zenodo.org/record/10891137",
        "http://www.zenodo.org/records/10891137/",
        "https://zenodo.org/records/10891137?preview=1#files",
        "https://zenodo.org/records/10891137/files/BigEarthNet-S2.tar.zst?download=1",
        "https://zenodo.org/api/records/10891137",
        "https://zenodo.org/doi/10.5281/zenodo.10891137",
        "10.5281/ZENODO.10891137",
        "DOI: 10.5281/zenodo.10891137",
        "https://dx.doi.org/10.5281/zenodo.10891137",
    ],
)
def test_every_way_to_write_a_record_leads_to_its_json(text: str) -> None:
    assert record_url(text) == URL


OTHER_URLS = [
    "http://127.0.0.1:8080/api/records/7",
    "https://example.org/10.5281/zenodo.10891137",
    "https://zenodo.org.example.org/records/10891137",
    "https://zenodo.org/communities/bigearth",
    "https://zenodo.org/records/10891137x",
]
NO_URLS = ["", "/data/10891137", "10891137/", "s3://b/x", "ftp://a/b", "https://", "१२३"]


@pytest.mark.parametrize("text", [*OTHER_URLS, *NO_URLS])
def test_other_urls_are_used_as_they_are_and_nothing_else(text: str) -> None:
    assert record_url(text) == (text if text in OTHER_URLS else None)


def a_file(key: str, size: int, md5: str) -> dict[str, Any]:
    link = f"https://zenodo.org/api/records/10891137/files/{key}/content"
    return {"id": "0d9a", "key": key, "size": size, "checksum": f"md5:{md5}", "links": {"self": link}}


def document() -> dict[str, Any]:
    """What Zenodo answers for the record, cut to what matters and a little more."""
    return {
        "id": 10891137,
        "conceptrecid": "10891136",
        "metadata": {"title": "BigEarthNet\n v2.0", "version": "2.0.0", "access_right": "open"},
        "links": {"latest": "https://zenodo.org/api/records/10891137/versions/latest"},
        "files": [
            a_file(IMAGES, 63_251_710_377, "2245ed2d1a93f6ce637d839bc856396e"),
            a_file(MAPS, 282_391_301, "95D85A222FA983FADDCAC51A19F28917"),
            a_file("BigEarthNet-S1.tar.zst", 9, "0" * 32),
        ],
    }


def parse(content: object) -> Record:
    return parse_record(json.dumps(content).encode(), URL)


def test_a_record_is_parsed_and_other_files_are_ignored() -> None:
    files = "https://zenodo.org/api/records/10891137/files"
    images = RecordFile(
        IMAGES, 63_251_710_377, "2245ed2d1a93f6ce637d839bc856396e", f"{files}/{IMAGES}/content"
    )
    maps = RecordFile(MAPS, 282_391_301, "95d85a222fa983faddcac51a19f28917", f"{files}/{MAPS}/content")
    record = Record("zenodo", "10891137", "2.0.0", "BigEarthNet v2.0", (images, maps))
    content = document()
    assert parse(content) == record
    content["files"].reverse()
    assert parse(content) == record, "in the order of the names"
    assert "files/" not in repr(record), "a link can hold a token"
    assert record.require(MAPS) is maps


@pytest.mark.parametrize("metadata", [{}, {"metadata": None}, {"metadata": {"version": None}}])
def test_version_and_title_can_be_missing(metadata: dict[str, Any]) -> None:
    content = document()
    del content["metadata"]
    record = parse(content | metadata)
    assert (record.version, record.title) == ("", "")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.pop("id"), r"\(id: Field required\)"),
        (lambda d: d.update(id="7](http://a)"), r"\(id\."),
        (lambda d: d.update(id=10**30), r"\(id\."),
        (lambda d: d.pop("files"), r"\(files: Field required\)"),
        (lambda d: d["files"][0].update(size=1 << 63), r"\(files\.0\.size: .*less than"),
        (lambda d: d["files"][0].update(size=-1), r"\(files\.0\.size: .*greater than or equal to 0"),
        (lambda d: d["files"][0].pop("checksum"), r"\(files\.0\.checksum: Field required"),
        (lambda d: d.update(files=[]), f"has no {IMAGES} and no {MAPS}; it has no files. Choose"),
        (lambda d: d["files"].pop(1), f"has no {MAPS}; it has {IMAGES}, BigEarthNet-S1"),
        (lambda d: d["files"][0].update(checksum="sha256:" + "0" * 64), r"\(files\.0\.checksum: .*match"),
        (lambda d: d["files"][0].update(checksum="md5:" + "0" * 31), r"\(files\.0\.checksum: .*match"),
        (lambda d: d["files"][0]["links"].update(self="/etc/passwd"), f"link to {IMAGES} .* leads to /etc"),
        (lambda d: d["files"][0]["links"].update(self="file://zenodo.org/x"), "leads to file:"),
        (lambda d: d["files"][0]["links"].update(self="https://a.zenodo.org/x"), "leads to https://a.zen"),
        (lambda d: d["files"][0]["links"].update(self="http://zenodo.org/x"), "leads to http://zen"),
        (lambda d: d["files"][0]["links"].update(self="https://zenodo.org:443@a/x?t=b"), "to https://a/x, "),
    ],
)
def test_anything_but_such_a_record_is_refused(
    change: Callable[[dict[str, Any]], object], message: str
) -> None:
    content = document()
    change(content)
    with pytest.raises(SourceError, match=message):
        parse(content)


@pytest.mark.parametrize("data", [b"", b"<!doctype html>", b'{"id": 1', b"\xff\xfe", b"[" * 100_000])
def test_what_is_no_json_is_refused_without_the_token(data: bytes) -> None:
    with pytest.raises(
        SourceError, match=r"^https://zenodo.org/7 is not the JSON of a record.*10891137"
    ) as caught:
        parse_record(data, "https://person:secret1@zenodo.org/7?token=secret2#secret3")
    assert "secret" not in str(caught.value)
