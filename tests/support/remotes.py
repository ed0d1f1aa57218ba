"""Openers of files for tests."""

from bigearthnet.source.old.http import Http, Patience
from bigearthnet.source.old.opening import Remote
from bigearthnet.store.s3.objects import Bucket


def over_http(http: Http) -> Remote:
    """Opens URLs and local files, and fails where a bucket is asked for."""

    def no_bucket(url: str) -> Bucket:
        raise AssertionError(f"a client for {url} is made")

    return Remote(http, no_bucket)


def out_of(bucket: Bucket) -> Remote:
    """Opens objects of a bucket at once and without waiting; URLs and local files, too."""

    def opened(url: str) -> Bucket:
        assert url == str(bucket.place)
        return bucket

    http = Http(Patience(connect_seconds=5, stall_seconds=0.3), sleep=lambda _: None)
    return Remote(http, opened, sleep=lambda _: None)
