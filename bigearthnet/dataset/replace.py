"""Put a new dataset in the place of an old one: its card goes first, and the new card comes last."""

import json
from collections.abc import Callable, Collection, Iterable
from contextlib import ExitStack
from typing import Final

from pydantic import TypeAdapter, ValidationError

from bigearthnet.dataset.layout import CARD, FILES, REPLACED
from bigearthnet.dataset.published import Published
from bigearthnet.store import Store

_NAMES: Final = TypeAdapter(list[str])


def replace_dataset(
    store: Store,
    commits: Iterable[Callable[[], object]],
    names: Collection[str],
    card: bytes | None,
    published: Published | None,
) -> None:
    """Remove the old card, make the new files visible, and write the new card, if there is one.

    `names` are those of the new dataset, or of the new files if it stays without a card. With the new card,
    files that only the old one named are removed; other files stay. If the first file cannot be made visible,
    the old card is put back: nothing of its dataset has changed.
    """
    old = _noted(store) if published is None else {file.name for file in published.card.files}
    if more := old.union(names) - FILES:  # every card names the others
        store.write(REPLACED, json.dumps(sorted(more)).encode())
    with ExitStack() as on_error:
        if published is not None:
            store.delete([CARD])
            on_error.callback(store.write, CARD, published.data, create=True)
        for commit in commits:
            commit()
            on_error.pop_all()
        on_error.pop_all()
    if card is not None:
        store.delete(sorted(more.difference(names)))
        store.write(CARD, card, create=True)  # a run that has taken over may have written one


def forget_old_files(store: Store) -> None:
    """Remove the note about replaced files, when the new card is there."""
    if store.head(REPLACED) is not None:
        store.delete([REPLACED])


def _noted(store: Store) -> set[str]:
    try:
        return set(_NAMES.validate_json(store.read(REPLACED) or b"[]"))
    except ValidationError:  # cut off, or of another version: what it named stays
        return set()
