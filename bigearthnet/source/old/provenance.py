"""The source as the dataset card tells it."""

from collections.abc import Sequence

from bigearthnet.dataset.card import Source, SourceFile, Verification
from bigearthnet.names import IMAGES_ARCHIVE
from bigearthnet.source.old.local import Holding
from bigearthnet.source.old.record import Record


def source_of(
    record: Record, images_md5: str, images_verification: Verification, holdings: Sequence[Holding]
) -> Source:
    """What the dataset is made from; nothing that depends on this machine or on when it was read.

    Args:
        record: the record.
        images_md5: md5 of the images' archive, which need not be at hand.
        images_verification: what that md5 is worth.
        holdings: the other files that were used.
    """
    images = SourceFile(
        name=IMAGES_ARCHIVE,
        size=record.require(IMAGES_ARCHIVE).size,
        md5=images_md5,
        verification=images_verification,
    )
    others = [
        SourceFile(name=held.name, size=held.size, md5=held.md5, verification=held.verification)
        for held in holdings
    ]
    return Source(
        kind=record.kind,
        record=record.record_id,
        version=record.version,
        title=record.title,
        files=(images, *others),
    )
