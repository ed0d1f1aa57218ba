"""One run at a time at a place in a bucket: a lock object, refreshed while the run lives.

S3 has no lock that dies with its process, so the lock says whose it is and when it was last refreshed. All
that changes it is conditional (If-None-Match, If-Match), so of two runs that try, one at most succeeds.
"""

import itertools
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from pydantic import ValidationError

from bigearthnet.errors import BigEarthNetError, BusyError
from bigearthnet.store.lock import LOCK_FILE
from bigearthnet.store.s3.holder import Holder, this_process, why_free
from bigearthnet.store.s3.objects import Bucket, ConditionFailedError

_ATTEMPTS: Final = 5  # each is lost only to another run's success
_leases = itertools.count(1)

logger = logging.getLogger(__name__)


class Lease:
    """A held lock; made by `hold`.

    Attributes:
        lost: set as soon as it is known that the lock is not ours any more.
    """

    def __init__(
        self, bucket: Bucket, run: str, clock: Callable[[], float], stale_after_seconds: float
    ) -> None:
        self.lost = threading.Event()
        self._bucket = bucket
        self._place = bucket.place
        self._clock = clock
        self._stale_after = stale_after_seconds
        self._mutex = threading.Lock()
        now = clock()
        self._mine = Holder(run=run, by=this_process(), lease=next(_leases), since=now, refreshed=now)
        self._etag = self._take()

    def check(self) -> None:
        """Make sure that the lock is still ours, by refreshing it.

        Raises:
            BusyError: it is not, or could not be refreshed for so long that another run may have it.
        """
        with self._mutex:
            if not self.lost.is_set():
                self._refresh()
        if self.lost.is_set():
            raise BusyError(
                f"expected run {self._mine.run} to hold {self._place} until its end, found its lock "
                f"{LOCK_FILE} taken over, removed, or not refreshed for {self._stale_after:g} s; "
                "see that no other run is at work there, then run again"
            )

    def keep(self, stop: threading.Event, every_seconds: float) -> None:
        """Refresh the lock until `stop` is set, or it is lost."""
        while not self.lost.is_set() and not stop.wait(every_seconds):
            with self._mutex:
                if not stop.is_set():
                    self._refresh()

    def release(self) -> None:
        """Remove the lock if it is still ours. It is no error if that fails: the lock becomes stale."""
        with self._mutex:
            try:
                found = self._found()
                if found is not None and self._is_mine(found):
                    self._bucket.delete_if(LOCK_FILE, found.etag)
                else:
                    logger.warning("the lock of %s is not ours any more, and stays as it is", self._place)
            except BigEarthNetError as error:
                logger.warning("the lock of %s could not be removed: %s", self._place, error)

    def _take(self) -> str:
        """Returns the ETag of the lock, which is ours then."""
        for _ in range(_ATTEMPTS):
            self._renew()
            try:
                return self._write(None)
            except ConditionFailedError:
                found = self._found()
            if found is None:
                continue
            if self._is_mine(found):  # written by a try whose answer was lost
                return found.etag
            self._require_free(found.holder)
            try:
                return self._write(found.etag)
            except ConditionFailedError:
                continue
        raise BusyError(
            f"expected {self._place} to be free, found its lock changing hands {_ATTEMPTS} times; "
            "see what other runs are at work there, then run again"
        )

    def _require_free(self, holder: Holder | None) -> None:
        """Raises BusyError unless the lock of that holder may be taken over."""
        if holder is None:
            raise BusyError(
                f"expected {self._place} to be free, found a {LOCK_FILE} that says nothing of its holder; "
                "remove it if no run is at work there, then run again"
            )
        why = why_free(holder, self._mine.by, self._mine.refreshed, stale_after_seconds=self._stale_after)
        if why is None:
            raise BusyError(
                f"expected {self._place} to be free, found it held by {holder}; "
                "wait until that run has ended, or cancel it, then run again"
            )
        logger.warning("taking over the lock of %s from %s: %s", self._place, holder, why)

    def _refresh(self) -> None:
        before = self._mine
        self._renew()
        try:
            self._etag = self._write(self._etag)
        except ConditionFailedError:
            self._adopt(before)
        except BigEarthNetError as error:
            self._put_off(before, error)

    def _adopt(self, before: Holder) -> None:
        """Another wrote the lock: it may have been a try of ours whose answer was lost."""
        try:
            found = self._found()
        except BigEarthNetError as error:
            self._put_off(before, error)
            return
        if found is not None and found.holder is not None and self._is_mine(found):
            self._mine, self._etag = found.holder, found.etag
        else:
            self.lost.set()
            logger.error("the lock of %s has been taken over from run %s", self._place, self._mine.run)

    def _put_off(self, before: Holder, error: BigEarthNetError) -> None:
        self._mine = before
        logger.warning("the lock of %s could not be refreshed: %s", self._place, error)
        if self._is_overdue():
            self.lost.set()

    def _is_overdue(self) -> bool:
        return self._clock() - self._mine.refreshed >= self._stale_after

    def _renew(self) -> None:
        self._mine = self._mine.model_copy(update={"refreshed": self._clock()})

    def _write(self, only_if_etag: str | None) -> str:
        data = self._mine.model_dump_json().encode()
        return self._bucket.write(
            LOCK_FILE, data, only_if_absent=only_if_etag is None, only_if_etag=only_if_etag
        )

    def _found(self) -> "_Found | None":
        found = self._bucket.read_with_etag(LOCK_FILE)
        if found is None:
            return None
        data, etag = found
        try:
            return _Found(Holder.model_validate_json(data), etag)
        except ValidationError:
            return _Found(None, etag)

    def _is_mine(self, found: "_Found") -> bool:
        return found.holder is not None and found.holder.is_same(self._mine)


@dataclass(frozen=True, slots=True)
class _Found:
    """A lock that is there; `holder` is None if it does not say whose."""

    holder: Holder | None
    etag: str


@contextmanager
def hold(
    bucket: Bucket,
    run: str,
    *,
    clock: Callable[[], float] = time.time,
    every_seconds: float = 60,
    stale_after_seconds: float = 600,
) -> Iterator[Lease]:
    """Hold the bucket's place until the block ends; the lock is `.lock` there.

    A lock whose process ran on this machine and has ended is taken over at once, any other when it was not
    refreshed for `stale_after_seconds`. Clocks of machines may differ by less than that.

    Args:
        bucket: the place to hold.
        run: name of the run that holds it, shown to a run that comes second.
        clock: seconds since the epoch.
        every_seconds: between two refreshings.
        stale_after_seconds: how long a lock counts that is not refreshed.

    Raises:
        BusyError: another run holds it; the message says which.
        DestinationError: the server refuses.
        TransferError: the server does not answer.
    """
    lease = Lease(bucket, run, clock, stale_after_seconds)
    stop = threading.Event()
    keeper = threading.Thread(
        target=lease.keep, args=(stop, every_seconds), name=f"lease of {bucket.place}", daemon=True
    )
    try:
        keeper.start()
        yield lease
    finally:
        stop.set()
        lease.release()
