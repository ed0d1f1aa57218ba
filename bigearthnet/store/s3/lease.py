"""The lock of a prefix: an object that is refreshed while the run lives.

S3 has no lock that ends with its process, so the object says who wrote it and when.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from pydantic import ValidationError

from bigearthnet.errors import BigEarthNetError, BusyError
from bigearthnet.store.ownership import LOCK
from bigearthnet.store.s3.lock_owner import LockOwner, takeover_reason, this_process
from bigearthnet.store.s3.prefix import Prefix

_ATTEMPTS: Final = 5  # each fails only where another run succeeds

logger = logging.getLogger(__name__)


class Lease:
    """A prefix that is locked by this process; made by `lease`."""

    def __init__(
        self, prefix: Prefix, run: str, clock: Callable[[], float], stale_after_seconds: float
    ) -> None:
        self.lost = threading.Event()
        """Set as soon as it is known that the lock is not ours any more."""
        self._prefix = prefix
        self._url = prefix.url(LOCK)
        self._clock = clock
        self._stale_after = stale_after_seconds
        self._mutex = threading.Lock()
        self._owner = this_process(run, clock())
        self._etag = self._take()

    def check(self) -> None:
        """Refresh the lock; raise BusyError if it is not ours, or was not refreshed for too long."""
        with self._mutex:
            if not self.lost.is_set():
                self._refresh()
        if self.lost.is_set():
            raise BusyError(
                f"run {self._owner.run} lost {self._url}: it was taken over, removed, or not refreshed for "
                f"{self._stale_after:g} s. Make sure that no other run works there, then run again."
            )

    def check_if_old(self) -> None:
        """Check the lock if this process was suspended or offline so long that another may have it."""
        if self.lost.is_set() or self._is_old():
            self.check()

    def refresh_until(self, stop: threading.Event, every_seconds: float) -> None:
        """Refresh the lock until `stop` is set, or the lock is lost."""
        while not self.lost.is_set() and not stop.wait(every_seconds):
            with self._mutex:
                if not stop.is_set():
                    self._refresh()

    def release(self) -> None:
        """Remove the lock if it is still ours; a failure is logged, as the lock becomes stale by itself."""
        with self._mutex:
            try:
                owner, etag = read_lock(self._prefix)
                if not (self._is_ours(owner) and self._prefix.delete_if(LOCK, etag)):
                    logger.warning("%s is not ours any more and is left as it is", self._url)
            except BigEarthNetError as error:
                logger.warning("the lock stays until it is stale: %s", error)

    def _take(self) -> str:
        """Write the lock; returns its ETag."""
        for _ in range(_ATTEMPTS):
            self._owner = self._owner.refreshed_at(self._clock())
            etag = create_lock(self._prefix, self._owner)
            if etag is None:
                owner, found = read_lock(self._prefix)
                if not found:
                    continue
                if self._is_ours(owner):  # written by a try whose response was lost
                    return found
                self._require_free(owner)
                etag = replace_lock(self._prefix, self._owner, found)
            if etag is not None:
                return etag
        raise BusyError(
            f"{self._url} was taken by other runs {_ATTEMPTS} times. Run again when they have ended."
        )

    def _require_free(self, owner: LockOwner | None) -> None:
        if owner is None:
            raise BusyError(
                f"{self._url} does not say which run wrote it. "
                "Remove it if no run works there, then run again."
            )
        reason = takeover_reason(owner, self._owner, self._stale_after)
        if reason is None:
            raise BusyError(
                f"{self._url} belongs to {owner}. "
                "Wait until that run has ended, or cancel it, then run again."
            )
        logger.warning("taking over %s from %s: %s", self._url, owner, reason)

    def _refresh(self) -> None:
        renewed = self._owner.refreshed_at(self._clock())
        owner: LockOwner | None = renewed
        try:
            etag = replace_lock(self._prefix, renewed, self._etag)
            if etag is None:  # it may be of a try of ours whose response was lost
                owner, etag = read_lock(self._prefix)
        except BigEarthNetError as error:
            logger.warning("could not refresh the lock: %s", error)
            if self._is_old():
                self.lost.set()
            return
        if owner is not None and self._is_ours(owner):
            self._owner, self._etag = owner, etag
        else:
            self.lost.set()
            logger.error("%s of run %s was taken over or removed", self._url, self._owner.run)

    def _is_old(self) -> bool:
        return self._clock() - self._owner.refreshed >= self._stale_after

    def _is_ours(self, owner: LockOwner | None) -> bool:
        return owner is not None and owner.id == self._owner.id


def read_lock(prefix: Prefix) -> tuple[LockOwner | None, str]:
    """The owner and the ETag of a lock; no owner if the content is not ours, no ETag if there is no lock."""
    content, etag = prefix.get(LOCK) or (b"", "")
    try:
        return LockOwner.model_validate_json(content), etag
    except ValidationError:
        return None, etag


def create_lock(prefix: Prefix, owner: LockOwner) -> str | None:
    """Write the lock where there is none; returns its ETag, None if there is one."""
    return prefix.put_if(LOCK, owner.model_dump_json().encode(), "IfNoneMatch", "*")


def replace_lock(prefix: Prefix, owner: LockOwner, etag: str) -> str | None:
    """Write the lock in place of the version `etag`; returns its ETag, None if it has changed.

    Servers without conditional replacement (501) are asked to remove that version, then to write a new
    one where there is none: at most one of two writers succeeds, but for a moment there is no lock.
    """
    try:
        return prefix.put_if(LOCK, owner.model_dump_json().encode(), "IfMatch", etag)
    except NotImplementedError:
        is_there = read_lock(prefix)[1] == etag and prefix.delete_if(LOCK, etag)
        return create_lock(prefix, owner) if is_there else None


@contextmanager
def lease(
    prefix: Prefix,
    run: str,
    *,
    clock: Callable[[], float] = time.time,
    every_seconds: float = 60,
    stale_after_seconds: float = 600,
) -> Iterator[Lease]:
    """Lock a prefix until the block ends; raise BusyError if another run has it.

    A lock whose process ran on this machine and has ended is taken over at once, any other when it was not
    refreshed for `stale_after_seconds`. Clocks of machines may differ by less than that.
    """
    held = Lease(prefix, run, clock, stale_after_seconds)
    stop = threading.Event()
    thread = threading.Thread(
        target=held.refresh_until, args=(stop, every_seconds), name=f"lock of {prefix}", daemon=True
    )
    try:
        thread.start()
        yield held
    finally:
        stop.set()
        held.release()
