import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bigearthnet.errors import StoreError
from bigearthnet.store import names_bucket, parse_s3_url

PARTS = st.text("abzAZ09-_.= é", min_size=1, max_size=20).filter(lambda part: part not in (".", ".."))


@given(st.from_regex(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]", fullmatch=True), st.lists(PARTS, max_size=5))
def test_a_url_is_bucket_and_prefix(bucket: str, parts: list[str]) -> None:
    prefix = "/".join(parts)
    for url in (f"s3://{bucket}/{prefix}", f"s3://{bucket}/{prefix}/"):
        assert names_bucket(url)
        assert parse_s3_url(url) == (bucket, prefix)


def test_a_bucket_alone_has_an_empty_prefix() -> None:
    assert parse_s3_url("s3://my.bucket-1") == parse_s3_url("s3://my.bucket-1/") == ("my.bucket-1", "")
    assert parse_s3_url("s3://bucket/" + "x" * 900) == ("bucket", "x" * 900)


@pytest.mark.parametrize(
    "url",
    [
        *("", "bucket/prefix", "/data", "S3://bucket/x", "https://bucket/x", "s3:/bucket", "s3://"),
        "s3:///x",
        *("s3://ab/x", "s3://Bucket/x", "s3://-bucket/x", "s3://bucket-/x", "s3://buc..ket/x", "s3://a_b/x"),
        *("s3://bucket//x", "s3://bucket/a//b", "s3://bucket/./b", "s3://bucket/a/..", "s3://bucket/a\nb"),
        "s3://bucket/" + "x" * 901,
        "s3://" + "b" * 64,
    ],
)
def test_another_form_is_refused(url: str) -> None:
    message = rf"^cannot use {re.escape(repr(url))}: it is not of the form s3://bucket/prefix\. A"
    with pytest.raises(StoreError, match=message):
        parse_s3_url(url)


def test_a_misspelt_bucket_is_no_folder_and_a_folder_no_bucket() -> None:
    assert all(map(names_bucket, ["s3:/bucket/x", "S3://bucket/x", " s3:bucket", "s3://bucket"]))
    assert not any(map(names_bucket, ["/data/s3", "s3", "s3/x", "~/s3:x", "https://host/s3:x"]))


def test_keys_in_a_url_are_not_shown() -> None:
    with pytest.raises(StoreError, match=r"cannot use 's3://bucket/prefix': ") as caught:
        parse_s3_url("s3://AKIA:SE/CRET@bucket/prefix?token=SECRET")
    assert "CRET" not in str(caught.value)
