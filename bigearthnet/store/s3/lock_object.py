"""The object that locks a prefix: each change of it holds only if nobody else has changed it."""

from botocore.exceptions import ClientError
from pydantic import ValidationError

from bigearthnet.store.ownership import LOCK
from bigearthnet.store.s3.lock_owner import LockOwner
from bigearthnet.store.s3.prefix import NO_METADATA, Prefix
from bigearthnet.store.s3.translate import ABSENT, NOT_MET, error_code


class LockObject:
    """`.lock` below a prefix; every method raises what `translate_errors` does."""

    def __init__(self, prefix: Prefix) -> None:
        self._prefix = prefix

    def __str__(self) -> str:
        return self._prefix.url(LOCK)

    def read(self) -> tuple[LockOwner | None, str] | None:
        """The owner and the ETag; no owner if the content is not ours, None if there is no lock."""
        found = self._prefix.get(LOCK)
        if found is None:
            return None
        try:
            return LockOwner.model_validate_json(found[0]), found[1]
        except ValidationError:
            return None, found[1]

    def create(self, owner: LockOwner) -> str | None:
        """Write the lock where there is none; returns its ETag, None if there is one."""
        return self._write(owner, IfNoneMatch="*")

    def replace(self, owner: LockOwner, etag: str) -> str | None:
        """Write the lock in place of the version `etag`; returns its ETag, None if it has changed.

        Servers without conditional replacement (501) are asked to remove that version, then to write a new
        one where there is none: at most one of two writers succeeds, but for a moment there is no lock.
        """
        try:
            return self._write(owner, IfMatch=etag)
        except NotImplementedError:
            found = self.read()
            if found is None or found[1] != etag or not self.remove(etag):
                return None
            return self.create(owner)

    def remove(self, etag: str) -> bool:
        """Remove the lock if it still has this ETag; False if it has another."""
        with self._prefix.translating("remove", LOCK):
            try:
                self._prefix.client.delete_object(
                    Bucket=self._prefix.bucket, Key=self._prefix.key(LOCK), IfMatch=etag
                )
            except ClientError as error:
                if error_code(error) in NOT_MET:
                    return False
                if error_code(error) not in ABSENT:
                    raise
        return True

    def _write(self, owner: LockOwner, **conditions: str) -> str | None:
        with self._prefix.translating("write", LOCK):
            try:
                data = owner.model_dump_json().encode()
                return self._prefix.put_untranslated(LOCK, data, NO_METADATA, **conditions)
            except ClientError as error:
                if error_code(error) in ABSENT | NOT_MET:
                    return None
                if error_code(error) == "NotImplemented" and "IfMatch" in conditions:
                    raise NotImplementedError from None
                raise
