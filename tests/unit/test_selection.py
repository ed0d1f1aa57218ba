from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bigearthnet.errors import SelectionError
from bigearthnet.options import Selection
from bigearthnet.plan.metadata import Metadata, read_metadata
from bigearthnet.plan.selection import Index, Plan, matches, patch_id, plan

A = "S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP"
B = "S2A_MSIL2A_20170704T112111_N9999_R037_T29SND"
C = "S2B_MSIL2A_20170613T101031_N9999_R022_T33UUP"
D = "S2B_MSIL2A_20180506T105029_N9999_R051_T31UER"

Listing = dict[str, Any]


def listing(tile: str, place: int, **facts: Any) -> Listing:
    """A row of the record's metadata."""
    row = {
        "patch_id": f"{tile}_{place // 100:02d}_{place % 100:02d}",
        "labels": ["Pastures"],
        "split": "train",
        "country": "Austria",
        "contains_seasonal_snow": False,
        "contains_cloud_or_shadow": False,
    }
    return row | facts


def metadata_of(folder: Path, rows: list[Listing]) -> Metadata:
    pq.write_table(pa.Table.from_pylist(rows), folder / "metadata.parquet")
    return read_metadata([folder / "metadata.parquet"])


def index_of(places: Mapping[str, list[int]]) -> Index:
    return {tile: np.array(sorted(found), np.uint16) for tile, found in places.items()}


def planned(made: Plan) -> list[str]:
    return [one for tile in made.tiles for one in tile.patch_ids]


places = st.sets(st.integers(0, 9999), max_size=5)
facts = st.fixed_dictionaries(
    {
        "split": st.sampled_from(["train", "validation", "test"]),
        "country": st.sampled_from(["Austria", "Finland", "Kosovo"]),
        "contains_seasonal_snow": st.booleans(),
        "contains_cloud_or_shadow": st.booleans(),
    }
)
listings = st.dictionaries(st.tuples(st.sampled_from([A, B, C, D]), st.integers(0, 30)), facts, max_size=15)
selections = st.builds(
    Selection,
    tiles=st.lists(st.sampled_from([A, "*_T33UUP", "S2B*", "nothing", "*[PR]"]), max_size=2).map(tuple),
    splits=st.lists(st.sampled_from(["train", "test"]), max_size=2).map(tuple),
    countries=st.lists(st.sampled_from(["Finland", "Kosovo", "Serbia"]), max_size=2).map(tuple),
    snow_cloud_shadow=st.sampled_from(["include", "exclude"]),
    max_patches=st.integers(0, 8),
)


def expected_patches(mapped: set[str], listed: dict[str, Listing], selection: Selection) -> list[str]:
    """What a selection means, patch by patch."""
    chosen = []
    for one in sorted(mapped | listed.keys()):
        row = listed.get(one)
        asked = [
            not selection.tiles or any(fnmatchcase(one[:-6], pattern) for pattern in selection.tiles),
            not selection.splits or (row is not None and row["split"] in selection.splits),
            not selection.countries or (row is not None and row["country"] in selection.countries),
            selection.snow_cloud_shadow == "include"
            or (
                row is not None and not row["contains_seasonal_snow"] and not row["contains_cloud_or_shadow"]
            ),
        ]
        if all(asked):
            chosen.append(one)
    return chosen[: selection.max_patches or None]


@settings(deadline=None)
@given(
    st.dictionaries(st.sampled_from([A, B, C, D]), st.sets(st.integers(0, 30), min_size=1)),
    listings,
    selections,
)
def test_the_plan_is_what_the_selection_means_patch_by_patch(
    tmp_path_factory: pytest.TempPathFactory,
    mapped: dict[str, set[int]],
    listed: dict[tuple[str, int], Listing],
    selection: Selection,
) -> None:
    rows = {
        row["patch_id"]: row for (tile, place), of in listed.items() for row in [listing(tile, place, **of)]
    }
    metadata = metadata_of(tmp_path_factory.mktemp("m"), list(rows.values())) if rows else None
    known = {tile: sorted(found) for tile, found in mapped.items()}
    ids = {
        f"{tile}_{place // 100:02d}_{place % 100:02d}" for tile, found in mapped.items() for place in found
    }
    expected = expected_patches(ids, rows, selection)
    if not expected or (metadata is None and selection.needs_metadata):
        with pytest.raises(SelectionError):
            plan(index_of(known), metadata, selection)
        return
    made = plan(index_of(known), metadata, selection)
    assert planned(made) == expected
    assert made.patches == len(expected)
    everything = ids | rows.keys()
    assert made.known_tiles == {one[:-6] for one in everything}
    after = ""
    for tile in made.tiles:
        of_tile = sorted(one for one in everything if one.startswith(tile.tile))
        assert [patch_id(tile.tile, place) for place in tile.known] == of_tile
        assert tile.is_complete == (tile.patch_ids == of_tile)
        assert tile.whole == (tile.is_complete and not selection.needs_metadata)
        assert tile.after == after
        after = tile.tile
    last = {one for one in everything if one[:-6] == max(everything)[:-6]}
    assert made.reads_to_the_end == (last <= set(expected))


@pytest.mark.parametrize(
    ("selection", "whole", "to_the_end"),
    [
        ({}, [True, True], True),
        ({"tiles": [A]}, [True], False),
        ({"tiles": ["*_T29SND"]}, [True], True),
        ({"max_patches": 2}, [True], False),
        ({"max_patches": 3}, [True, False], False),
        ({"max_patches": 4}, [True, True], True),
        ({"splits": ["train", "validation", "test"]}, [False, False], True),
    ],
)
def test_a_tile_is_whole_and_read_to_its_end_only_if_all_of_it_is_asked_for(
    tmp_path: Path, selection: dict[str, Any], whole: list[bool], to_the_end: bool
) -> None:
    index = index_of({A: [1, 2], B: [3, 4]})
    metadata = metadata_of(tmp_path, [listing(A, 1), listing(A, 2), listing(B, 3), listing(B, 4)])
    made = plan(index, metadata, Selection.model_validate(selection))
    assert [tile.whole for tile in made.tiles] == whole
    assert made.reads_to_the_end is to_the_end


def test_places_are_those_of_the_patch_ids() -> None:
    made = plan(index_of({A: [0, 9, 100, 2657, 9999]}), None, Selection())
    assert [one[len(A) :] for one in planned(made)] == ["_00_00", "_00_09", "_01_00", "_26_57", "_99_99"]
    assert made.tiles[0].places.dtype == np.uint16


@pytest.mark.parametrize(
    "choice", [{"splits": ["train"]}, {"countries": ["Austria"]}, {"snow_cloud_shadow": "exclude"}]
)
def test_without_metadata_only_tiles_can_be_chosen(choice: dict[str, Any]) -> None:
    message = r"expected the record's metadata files.*found none; put metadata\.parquet beside the archives"
    with pytest.raises(SelectionError, match=message):
        plan(index_of({A: [1]}), None, Selection.model_validate(choice))


def test_nothing_found_says_what_was_asked_for_and_what_is_there(tmp_path: Path) -> None:
    metadata = metadata_of(tmp_path, [listing(A, 1), listing(B, 1, country="Finland")])
    selection = Selection(countries=("Serbia",), max_patches=3)
    with pytest.raises(SelectionError) as caught:
        plan({}, metadata, selection)
    assert str(caught.value) == (
        "expected patches that match countries = ('Serbia',), max_patches = 3, found none; the source has "
        f"2 tiles ({A}, {B}), countries Austria, Finland, splits train, validation, test"
    )


def test_nothing_found_names_but_a_few_of_many_tiles() -> None:
    index = index_of({tile: [1] for tile in (A, B, C, D)})
    with pytest.raises(
        SelectionError,
        match=rf"match tiles = \('x',\), found none; the source has 4 tiles \({A}, {B}, {C}, \.\.\.\)$",
    ):
        plan(index, None, Selection(tiles=("x",)))


def test_an_empty_source_has_nothing_to_select() -> None:
    with pytest.raises(SelectionError, match=r"match everything, found none; the source has 0 tiles \(\)"):
        plan({}, None, Selection())


def test_patterns_heed_case_and_match_the_whole_name() -> None:
    assert matches(A, Selection(tiles=("nothing", "*_T33UUP")))
    assert matches(A, Selection())
    assert not matches(A, Selection(tiles=("*_t33uup",)))
    assert not matches(A, Selection(tiles=("T33UUP",)))
