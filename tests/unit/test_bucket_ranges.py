from typing import Any

import pytest
from bigearthnet.store.s3.reader import BucketReader

from bigearthnet.errors import ChecksumError
from tests.support.moto_bucket import moto_bucket


def test_a_server_that_sends_all_is_not_taken_for_one_that_sends_the_rest() -> None:
    with moto_bucket() as bucket:
        bucket.write("x", b"0123456789")
        (source,) = bucket.listing()

        def ignore_range(params: dict[str, Any], **_: Any) -> None:
            del params["headers"]["Range"]

        bucket.client.meta.events.register("before-call.s3.GetObject", ignore_range)
        reader = BucketReader(bucket, source, 4)
        with pytest.raises(
            ChecksumError, match=r"expected bytes 4-9/10 of s3://bucket/data/x, found all of it"
        ):
            reader.readall()
