import hashlib
from pathlib import Path

import pytest

from bigearthnet.dataset.card import PublishedFile, parse_card
from bigearthnet.dataset.copies import Edition, Landing
from bigearthnet.errors import SourceError, SpaceError
from tests.support.cards import NAMES, OTHER_SHARDS, SHARDS, card, entry, files
from tests.support.published import Published

CONTENTS = files()


def edition(contents: dict[str, bytes], **changes: object) -> Edition:
    data = card(contents, **changes)
    return Edition(parse_card(data, "there"), data)


def published(folder: Path, contents: dict[str, bytes]) -> Path:
    """A folder that holds a dataset."""
    for name, data in {**contents, "dataset.json": card(contents)}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def arrive(landing: Landing, file: PublishedFile) -> None:
    landing.part(file).write_bytes(CONTENTS[file.name])


def names(found: tuple[PublishedFile, ...]) -> list[str]:
    return [file.name for file in found]


@pytest.fixture
def whole() -> Edition:
    return edition(CONTENTS)


def test_a_folder_becomes_the_dataset_and_keeps_nothing_else(tmp_path: Path, whole: Edition) -> None:
    target = tmp_path / "target"
    target.mkdir()
    landing = Landing(target, whole)
    landing.begin()
    missing = landing.missing(whole.card.files)
    assert names(missing) == list(NAMES)
    for file in missing:
        arrive(landing, file)
        landing.place(file)
        assert (target / file.name).read_bytes() == CONTENTS[file.name]
        assert not (target / "dataset.json").exists()
    assert landing.finish()
    assert Published.read(target) == Published.read(published(tmp_path / "other", CONTENTS))


def test_the_card_waits_for_the_last_file(tmp_path: Path, whole: Edition) -> None:
    landing = Landing(tmp_path, whole)
    landing.begin()
    for file in whole.card.files[:-1]:
        arrive(landing, file)
        landing.place(file)
    assert not landing.finish()
    (tmp_path / NAMES[-1]).write_bytes(CONTENTS[NAMES[-1]][::-1])
    assert not landing.finish()
    assert not (tmp_path / "dataset.json").exists()
    (tmp_path / NAMES[-1]).write_bytes(CONTENTS[NAMES[-1]])
    assert landing.finish()
    assert (tmp_path / "dataset.json").read_bytes() == whole.data


def test_an_empty_file_that_is_not_there_is_missing(tmp_path: Path) -> None:
    landing = Landing(tmp_path, edition({"empty": b""}))
    landing.begin()
    assert not landing.finish()


def test_what_is_there_and_right_is_not_missing(tmp_path: Path, whole: Edition) -> None:
    published(tmp_path, CONTENTS)
    (tmp_path / NAMES[0]).write_bytes(CONTENTS[NAMES[0]][::-1])
    (tmp_path / NAMES[1]).write_bytes(CONTENTS[NAMES[1]][:-1])
    (tmp_path / NAMES[2]).unlink()
    landing = Landing(tmp_path, whole)
    landing.begin()
    assert names(landing.missing(whole.card.files)) == list(NAMES[:3])
    assert names(landing.missing(whole.card.files[1:2])) == [NAMES[1]]


def test_the_same_edition_keeps_its_card_while_a_file_is_replaced(tmp_path: Path, whole: Edition) -> None:
    published(tmp_path, CONTENTS)
    landing = Landing(tmp_path, whole)
    landing.begin()
    arrive(landing, whole.card.files[0])
    landing.place(whole.card.files[0])
    assert (tmp_path / "dataset.json").read_bytes() == whole.data


def test_another_edition_goes_card_first_and_with_its_shards(tmp_path: Path) -> None:
    published(tmp_path, CONTENTS)
    (tmp_path / "tiles/images/mine.zip").write_bytes(b"of somebody else")
    fewer = edition({name: CONTENTS[name] for name in NAMES if name not in SHARDS}, title="another")
    landing = Landing(tmp_path, fewer)
    landing.begin()
    assert (tmp_path / "dataset.json").exists()
    arrive(landing, fewer.card.files[0])
    landing.place(fewer.card.files[0])
    assert not (tmp_path / "dataset.json").exists()
    assert all((tmp_path / name).exists() for name in SHARDS)
    assert landing.finish()
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {*NAMES, "dataset.json", "tiles/images/mine.zip"} - set(SHARDS)
    assert all((tmp_path / name).exists() for name in OTHER_SHARDS)
    assert (tmp_path / "dataset.json").read_bytes() == fewer.data


def test_a_file_of_somebody_else_in_the_cards_place_is_kept(tmp_path: Path, whole: Edition) -> None:
    (tmp_path / "dataset.json").write_text("mine")
    with pytest.raises(SourceError, match=rf"^{tmp_path}/dataset\.json: expected a card .* move it away"):
        Landing(tmp_path, whole).begin()
    assert (tmp_path / "dataset.json").read_text() == "mine"


def test_only_what_has_not_arrived_counts(tmp_path: Path, whole: Edition) -> None:
    landing = Landing(tmp_path, whole)
    landing.begin()
    first, second = whole.card.files[:2]
    assert landing.left((first, second)) == first.size + second.size
    landing.part(first).write_bytes(CONTENTS[first.name][:100])
    assert landing.left((first, second)) == first.size - 100 + second.size
    landing.part(first).write_bytes(CONTENTS[first.name] + b"more")
    assert landing.left((first, second)) == second.size


def test_parts_of_another_edition_are_removed(tmp_path: Path, whole: Edition) -> None:
    landing = Landing(tmp_path, whole)
    landing.begin()
    part = landing.part(whole.card.files[0])
    part.write_bytes(b"own")
    strange = part.with_name(f"{hashlib.sha256(b'strange').hexdigest()}.part")
    strange.write_bytes(b"strange")
    landing.begin()
    assert part.read_bytes() == b"own"
    assert not strange.exists()


def test_too_little_space_is_told(tmp_path: Path) -> None:
    huge = [entry("huge", b"") | {"size": 1 << 60}]
    landing = Landing(tmp_path, edition({}, files=huge))
    landing.begin()
    file = parse_card(card({}, files=huge), "there").files[0]
    message = rf"expected 1048576\.0 TiB of free disk space for what is to be fetched in {tmp_path}, found"
    with pytest.raises(SpaceError, match=rf"{message} .*; free some space, choose a folder on another disk"):
        landing.require_room((file,))
    landing.require_room(())
