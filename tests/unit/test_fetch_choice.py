import pytest
from bigearthnet.dataset.choice import choose_files, choose_names, tile_of

from bigearthnet.dataset.card import Card, parse_card
from bigearthnet.errors import SelectionError
from tests.support.cards import NAMES, OTHER_SHARDS, OTHER_TILE, SHARDS, TILE, ZIPS, card, files


@pytest.fixture
def known() -> Card:
    return parse_card(card(files()), "here")


@pytest.mark.parametrize(
    ("wanted", "tiles", "names"),
    [
        ([], [], NAMES),
        (["manifest.parquet"], [], ["manifest.parquet"]),
        (["manifest.parquet", "manifest.*", ZIPS[1]], [], [ZIPS[1], "manifest.parquet"]),
        (["tiles/masks/*"], [], [SHARDS[1], OTHER_SHARDS[1]]),
        (["*.zip"], [], [*ZIPS, *SHARDS, *OTHER_SHARDS]),
        ([], [TILE], SHARDS),
        ([], ["*_T34TCR"], OTHER_SHARDS),
        ([], ["*"], [*SHARDS, *OTHER_SHARDS]),
        (["*.parquet", SHARDS[0]], [OTHER_TILE], ["manifest.parquet", SHARDS[0], *OTHER_SHARDS]),
    ],
)
def test_files_and_tiles_add_up_in_the_order_of_the_card(
    known: Card, wanted: list[str], tiles: list[str], names: list[str]
) -> None:
    assert [file.name for file in choose_files(known, wanted, tiles)] == list(names)


@pytest.mark.parametrize(
    ("wanted", "tiles", "message"),
    [
        (["manifest.csv", ZIPS[0]], [], r"expected files of the dataset, found none for 'manifest\.csv'; "),
        (["dataset.json"], [], r"expected files of the dataset, found none for 'dataset\.json'; "),
        ([], [TILE, "*_T99XXX"], r"expected tiles of the dataset, found none for '\*_T99XXX'; "),
        ([], [ZIPS[0]], "expected tiles of the dataset, found none for 'bigearthnet_pngs.zip'; "),
    ],
)
def test_what_is_not_there_is_named_with_what_is(
    known: Card, wanted: list[str], tiles: list[str], message: str
) -> None:
    there = (
        r"choose among bigearthnet_pngs\.zip, bigearthnet_mask_pngs\.zip, manifest\.parquet, "
        rf"tiles/images/<tile>\.zip, tiles/masks/<tile>\.zip of 2 tiles \({TILE}, {OTHER_TILE}\)$"
    )
    with pytest.raises(SelectionError, match=message + there):
        choose_files(known, wanted, tiles)


def test_names_are_chosen_in_their_order() -> None:
    names = ["b", "a", "tiles/c", "dataset.json"]
    assert choose_names(names, ["dataset.json", "a", "t*"]) == ["a", "tiles/c", "dataset.json"]
    with pytest.raises(
        SelectionError, match=r"none for 'A', 'c'; choose among b, a, tiles/c, dataset\.json$"
    ):
        choose_names(names, ["a", "A", "c"])


@pytest.mark.parametrize(
    ("name", "tile"),
    [
        (SHARDS[0], TILE),
        (OTHER_SHARDS[1], OTHER_TILE),
        (f"tiles/other/{TILE}.zip", None),
        (f"{TILE}.zip", None),
        (f"tiles/images/{TILE}.tar", None),
        (f"tiles/images/{TILE}", None),
        ("tiles/images/mine.zip", None),
        (ZIPS[0], None),
    ],
)
def test_a_shard_is_known_by_its_name(name: str, tile: str | None) -> None:
    assert tile_of(name) == tile
