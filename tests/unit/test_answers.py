from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from bigearthnet.source.old.answers import (
    Answer,
    FailedTryError,
    backoff_seconds,
    body_start,
    check_status,
    read_answer,
    retry_after_seconds,
    without_secrets,
)
from bigearthnet.source.old.record import RecordFile
from hypothesis import given
from hypothesis import strategies as st

from bigearthnet.errors import ChecksumError, SourceError, TransferError

FILE = RecordFile("maps", 1000, None, "https://zenodo.org/maps")
NOW = datetime(2024, 11, 7, 12, 0, tzinfo=UTC)
ETAG = '"md5:1"'
DATE = "Thu, 07 Nov 2024 11:00:00 GMT"


def partial(start: int, total: int = 1000, **told: Any) -> Answer:
    return Answer(206, content_range=f"bytes {start}-{total - 1}/{total}", **told)


@given(st.integers(0, 999), st.sampled_from([None, ETAG, DATE]))
def test_a_range_goes_on_where_it_was_asked_for(position: int, known: str | None) -> None:
    assert body_start(partial(position, etag=ETAG, last_modified=DATE), FILE, position, known) == position


@given(st.integers(0, 999), st.sampled_from([None, ETAG]), st.sampled_from([None, 1000]))
def test_a_whole_file_is_never_taken_for_the_range(
    position: int, known: str | None, length: int | None
) -> None:
    assert body_start(Answer(200, etag=ETAG, content_length=length), FILE, position, known) == 0


@given(st.integers(0, 999), st.integers(0, 999))
def test_another_range_than_asked_for_is_not_used(position: int, start: int) -> None:
    if position != start:
        with pytest.raises(FailedTryError, match=f"asked for bytes from {position}, .* bytes {start}-"):
            body_start(partial(start), FILE, position, None)


@pytest.mark.parametrize("told", [None, "", "bytes 5-9/*", "bytes */1000", "items 5-9/1000", "bytes 5-/1000"])
def test_a_range_that_does_not_say_which_is_not_used(told: str | None) -> None:
    with pytest.raises(FailedTryError, match="the answer's range is"):
        body_start(Answer(206, content_range=told), FILE, 5, None)


@pytest.mark.parametrize("answer", [partial(5, 999), partial(5, 1001), Answer(200, content_length=999)])
def test_another_size_than_the_records_is_refused(answer: Answer) -> None:
    with pytest.raises(ChecksumError, match=r"expected 1000 bytes of maps .* the server has (999|1001)"):
        body_start(answer, FILE, 5, None, restart=True)


def test_a_position_behind_the_end_is_another_size() -> None:
    with pytest.raises(ChecksumError, match=r"expected 1000 bytes .* none from byte 5 on"):
        body_start(Answer(416), FILE, 5, ETAG, restart=True)


@pytest.mark.parametrize("answer", [partial(5, etag='"md5:2"'), Answer(200, etag='"md5:2"')])
def test_another_edition_is_no_continuation(answer: Answer) -> None:
    with pytest.raises(ChecksumError, match=r'maps changed .* "md5:1" .*, found "md5:2" at byte 5'):
        body_start(answer, FILE, 5, ETAG)


def test_another_date_is_no_continuation() -> None:
    later = Answer(200, etag=ETAG, last_modified="Thu, 07 Nov 2024 12:00:00 GMT")
    with pytest.raises(ChecksumError, match="changed"):
        body_start(later, FILE, 5, DATE)
    assert body_start(Answer(200, last_modified=DATE), FILE, 5, DATE) == 0


def test_a_whole_file_of_another_edition_is_taken_where_the_beginning_may_be_given_up() -> None:
    assert body_start(Answer(200, etag='"md5:2"'), FILE, 5, ETAG, restart=True) == 0
    assert body_start(Answer(200, etag='"md5:2"'), FILE, 0, ETAG) == 0, "nothing was read yet"
    with pytest.raises(ChecksumError, match="changed"):
        body_start(partial(5, etag='"md5:2"'), FILE, 5, ETAG, restart=True)


@pytest.mark.parametrize("etag", [None, 'W/"md5:1"'])
def test_no_etag_and_the_same_weak_one_are_no_change(etag: str | None) -> None:
    assert body_start(partial(5, etag=etag), FILE, 5, ETAG) == 5


@pytest.mark.parametrize(
    ("etag", "date", "validator"),
    [
        (ETAG, DATE, ETAG),
        ('W/"1"', DATE, DATE),
        ('W/"1"', None, None),
        (None, DATE, DATE),
        (None, None, None),
    ],
)
def test_a_weak_etag_is_no_condition_for_a_range(
    etag: str | None, date: str | None, validator: str | None
) -> None:
    assert Answer(200, etag=etag, last_modified=date).validator == validator


def test_an_answer_is_read_from_its_headers() -> None:
    headers = {
        "ETag": ETAG,
        "Last-Modified": DATE,
        "Content-Range": "bytes 5-9/10",
        "Content-Length": "5",
        "Retry-After": "59",
    }
    assert read_answer(206, headers) == Answer(206, ETAG, DATE, "bytes 5-9/10", 5, "59")
    assert read_answer(200, {"Content-Length": "5, 5"}) == Answer(200)


@pytest.mark.parametrize("status", [200, 206, 416])
def test_usable_statuses_pass_whatever_they_ask_to_wait(status: int) -> None:
    check_status(Answer(status, retry_after="59"), "x", 0, usable=(200, 206, 416))


@pytest.mark.parametrize(
    ("status", "wait"), [(429, 59), (503, 59), (500, None), (502, None), (504, None), (408, None)]
)
def test_only_429_and_503_say_how_long_to_wait(status: int, wait: float | None) -> None:
    with pytest.raises(FailedTryError, match=f"answered {status}") as caught:
        check_status(Answer(status, retry_after="59"), "x", 0)
    assert caught.value.wait_seconds == wait
    assert isinstance(caught.value, TransferError)


@pytest.mark.parametrize("status", [204, 206, 304, 400, 401, 403, 404, 410, 451])
def test_refusals_stay(status: int) -> None:
    with pytest.raises(SourceError, match=f"expected the record, the server answered {status}; check"):
        check_status(Answer(status), "the record", 0)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0),
        ("59", 59),
        ("600", 600),
        ("86400", 600),
        (format_datetime(NOW + timedelta(seconds=90), usegmt=True), 90),
        (format_datetime(NOW - timedelta(days=1), usegmt=True), 0),
        (format_datetime(NOW + timedelta(days=1), usegmt=True), 600),
        ("Thu, 07 Nov 2024 12:01:00 -0000", 60),
        ("soon", None),
        (f"Thu, 07 Nov {10**20} 12:01:00 GMT", None),
        ("-5", None),
        ("1.5", None),
        ("", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str, seconds: float | None) -> None:
    assert retry_after_seconds(value, NOW.timestamp()) == seconds


@given(
    st.text() | st.from_regex(r"[A-Z][a-z]{2}, [0-9]{1,2} [A-Z][a-z]{2} [0-9]{1,6} [0-9:]{0,12} ?[A-Z+0-9]*")
)
def test_any_retry_after_is_a_wait_of_ten_minutes_at_most_or_none(value: str) -> None:
    seconds = retry_after_seconds(value, NOW.timestamp())
    assert seconds is None or 0 <= seconds <= 600


def test_waits_double_up_to_two_minutes() -> None:
    assert [backoff_seconds(2, n) for n in range(9)] == [2, 2, 4, 8, 16, 32, 64, 120, 120]
    assert backoff_seconds(2, 10**6) == 120


@pytest.mark.parametrize(
    "url",
    [
        "https://zenodo.org/a",
        "https://zenodo.org/a?token=secret",
        "https://zenodo.org/a#secret",
        "https://me:secret@zenodo.org/a?x=y@z",
        "https://me:sec@ret@zenodo.org/a",
    ],
)
def test_secrets_are_not_shown(url: str) -> None:
    assert without_secrets(url) == "https://zenodo.org/a"
