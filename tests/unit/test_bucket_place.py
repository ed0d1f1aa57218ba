import re

import pytest
from bigearthnet.store.s3.place import Place, parse_place
from hypothesis import given
from hypothesis import strategies as st

from bigearthnet.errors import DestinationError

PIECES = st.text("abzAZ09-_.= é", min_size=1, max_size=20).filter(lambda piece: piece not in (".", ".."))


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("s3://bucket/prefix", Place("bucket", "prefix")),
        ("s3://bucket/some/prefix/", Place("bucket", "some/prefix")),
        ("s3://my.bucket-1", Place("my.bucket-1", "")),
        ("s3://my.bucket-1/", Place("my.bucket-1", "")),
    ],
)
def test_a_place_is_bucket_and_prefix(url: str, place: Place) -> None:
    assert parse_place(url) == place
    assert parse_place(str(place)) == place


@given(st.from_regex(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]", fullmatch=True), st.lists(PIECES, max_size=5))
def test_what_is_written_is_read_back(bucket: str, pieces: list[str]) -> None:
    place = Place(bucket, "/".join(pieces))
    assert parse_place(str(place)) == place


@pytest.mark.parametrize(
    "url",
    [
        *(
            "",
            "bucket/prefix",
            "/data",
            "S3://bucket/x",
            "https://bucket/x",
            "s3:/bucket",
            "s3://",
            "s3:///x",
        ),
        *("s3://ab/x", "s3://Bucket/x", "s3://-bucket/x", "s3://bucket-/x", "s3://buc..ket/x", "s3://a_b/x"),
        *("s3://bucket//x", "s3://bucket/a//b", "s3://bucket/./b", "s3://bucket/a/..", "s3://bucket/a\nb"),
        "s3://bucket/" + "x" * 901,
        "s3://" + "b" * 64,
    ],
)
def test_another_form_is_refused(url: str) -> None:
    with pytest.raises(
        DestinationError, match=rf"^expected a place like s3://bucket/prefix, found {re.escape(repr(url))}; a"
    ):
        parse_place(url)


def test_keys_in_a_place_are_not_told() -> None:
    with pytest.raises(DestinationError, match="found 's3://bucket/prefix'; a") as caught:
        parse_place("s3://AKIA:SECRET@bucket/prefix")
    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize(
    ("place", "key"), [(Place("b", "p/q"), "p/q/tiles/x.zip"), (Place("b", ""), "tiles/x.zip")]
)
def test_names_are_below_the_prefix(place: Place, key: str) -> None:
    assert place.key("tiles/x.zip") == key
    assert place.url("tiles/x.zip") == f"s3://b/{key}"
