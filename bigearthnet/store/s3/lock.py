"""The lock of a prefix: an object that is written again and again while its run works.

S3 has no lock that ends with its process. So the object says which process wrote it, and the server says how
long ago: clocks of machines may differ.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from botocore.exceptions import ClientError
from pydantic import ValidationError

from bigearthnet.errors import BigEarthNetError, BusyError, ChangedError
from bigearthnet.store.ownership import LOCK
from bigearthnet.store.s3.lock_owner import LockOwner
from bigearthnet.store.s3.prefix import Prefix, SmallObject
from bigearthnet.store.s3.translate import error_code

logger = logging.getLogger(__name__)


class PrefixLock:
    """A prefix that is locked by this process; made by `lock_prefix`."""

    def __init__(
        self, prefix: Prefix, run: str, clock: Callable[[], float], stale_after_seconds: float
    ) -> None:
        self.lost = threading.Event()
        """Set as soon as it is known that the lock is not ours any more, or was released."""
        self._prefix = prefix
        self._url = prefix.url(LOCK)
        self._clock = clock
        self._stale_after = stale_after_seconds
        self._mutex = threading.Lock()
        self._owner = LockOwner.of_this_process(run)
        self._refreshed_at = clock()
        self._take()

    def check(self) -> None:
        """Refresh the lock; raise BusyError if it is not ours, or was not refreshed for too long."""
        self._refresh()
        if self.lost.is_set():
            raise BusyError(
                f"{self._owner.name} lost {self._url}: it was taken over, removed, or not refreshed for "
                f"{self._stale_after:g} s. Make sure that no other run works there, then run again."
            )

    def check_if_old(self) -> None:
        """Check the lock if this process was suspended or offline so long that another may have it."""
        if self.lost.is_set() or self._is_old():
            self.check()

    def refresh_every(self, seconds: float) -> None:
        """Refresh the lock until it is lost or released."""
        while not self.lost.wait(seconds):
            self._refresh()

    def release(self) -> None:
        """Remove the lock if it is still ours; a failure is logged, as the lock becomes stale by itself."""
        with self._mutex:
            self.lost.set()
            try:
                found = self._find_ours()
                if found is None:
                    logger.warning("%s is not ours any more and is left as it is", self._url)
                    return
                with self._prefix.translating("remove", LOCK):
                    self._prefix.client.delete_object(**self._prefix.at(LOCK), IfMatch=found.etag)
            except BigEarthNetError as error:
                logger.warning("the lock stays until it is stale: %s", error)

    def _take(self) -> None:
        found = self._prefix.get(LOCK)
        if found is not None:
            self._require_free(found)
        if not self._replace(found):
            raise BusyError(f"{self._url} was taken by another run just now. Run again when that has ended.")

    def _require_free(self, found: SmallObject) -> None:
        owner = owner_of(found)
        if owner is None:
            raise BusyError(
                f"{self._url} does not say which run wrote it. "
                "Remove it if no run works there, then run again."
            )
        if owner.has_ended():
            reason = "its process has ended"
        elif found.age_seconds >= self._stale_after:
            reason = f"it was not refreshed for {self._stale_after:g} s"
        else:
            raise BusyError(
                f"{self._url} belongs to {owner.name}, refreshed {found.age_seconds:.0f} s ago. "
                "Wait until that run has ended, or cancel it, then run again."
            )
        logger.warning("taking over %s from %s: %s", self._url, owner.name, reason)

    def _refresh(self) -> None:
        with self._mutex:
            if self.lost.is_set():
                return
            now = self._clock()
            try:
                found = self._find_ours()
                if found is not None and self._replace(found):
                    self._refreshed_at = now
                else:
                    logger.error("%s of %s was taken over or removed", self._url, self._owner.name)
                    self.lost.set()
            except BigEarthNetError as error:
                logger.warning("could not refresh the lock: %s", error)
                if self._is_old():
                    self.lost.set()

    def _is_old(self) -> bool:
        return self._clock() - self._refreshed_at >= self._stale_after

    def _find_ours(self) -> SmallObject | None:
        """The lock as it is now; None if it is not there or not ours."""
        found = self._prefix.get(LOCK)
        owner = None if found is None else owner_of(found)
        return found if owner is not None and owner.id == self._owner.id else None

    def _replace(self, found: SmallObject | None) -> bool:
        """Write the lock in place of the version that was found, or of none; False if it is another by now.

        Servers that cannot compare (501) replace whatever there is: two runs that take over a lock there in
        the same moment both go on, until one finds at its next refresh or check that it has lost it.
        """
        self._owner = self._owner.model_copy(update={"refreshes": self._owner.refreshes + 1})
        put, content = self._prefix.client.put_object, self._owner.model_dump_json().encode()
        request: Any = {**self._prefix.at(LOCK), "Body": content}
        condition: Any = {"IfNoneMatch": "*"} if found is None else {"IfMatch": found.etag}
        try:
            with self._prefix.translating("write", LOCK):
                try:
                    put(**request, **condition)
                except ClientError as error:
                    if found is None or error_code(error) != "NotImplemented":
                        raise
                    put(**request)
        except ChangedError:
            return self._find_ours() is not None  # written by a try of ours whose response was lost
        return True


def owner_of(found: SmallObject) -> LockOwner | None:
    """The owner of a lock; None if it has other content than ours."""
    try:
        return LockOwner.model_validate_json(found.data)
    except ValidationError:
        return None


@contextmanager
def lock_prefix(
    prefix: Prefix,
    run: str,
    *,
    clock: Callable[[], float] = time.time,
    every_seconds: float = 60,
    stale_after_seconds: float = 600,
) -> Iterator[PrefixLock]:
    """Lock a prefix until the block ends; raise BusyError if another run has it.

    A lock whose process ran on this machine and has ended is taken over at once, any other when it was not
    refreshed for `stale_after_seconds`.
    """
    lock = PrefixLock(prefix, run, clock, stale_after_seconds)
    refreshing = threading.Thread(target=lock.refresh_every, args=[every_seconds], daemon=True)
    refreshing.start()
    prefix.check_lock = lock.check_if_old
    try:
        yield lock
    finally:
        prefix.check_lock = lambda: None
        lock.release()
