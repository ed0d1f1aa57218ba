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

from bigearthnet.archive.bundle import Index
from bigearthnet.errors import SelectionError
from bigearthnet.options import Selection
from bigearthnet.plan.metadata import Metadata, patch_id, read_metadata
from bigearthnet.plan.selection import Plan, plan_tiles

A = "S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP"
B = "S2A_MSIL2A_20170704T112111_N9999_R037_T29SND"
C = "S2B_MSIL2A_20170613T101031_N9999_R022_T33UUP"
D = "S2B_MSIL2A_20180506T105029_N9999_R051_T31UER"

Row = dict[str, Any]


def row_of(tile: str, cell: int, **facts: Any) -> Row:
    """A row of the record's metadata."""
    row = {"patch_id": patch_id(tile, cell), "labels": ["Pastures"], "split": "train", "country": "Austria"}
    return row | {"contains_seasonal_snow": False, "contains_cloud_or_shadow": False} | facts


def metadata_of(folder: Path, rows: list[Row]) -> Metadata:
    pq.write_table(pa.Table.from_pylist(rows), folder / "metadata.parquet")
    return read_metadata([folder / "metadata.parquet"])


def index_of(cells: Mapping[str, set[int]]) -> Index:
    return {tile: np.array(sorted(found), np.uint16) for tile, found in cells.items()}


def planned(plan: Plan) -> list[str]:
    return [one for tile in plan.tiles for one in tile.patch_ids]


tiles = st.sampled_from([A, B, C, D])
facts = st.fixed_dictionaries(
    {
        "split": st.sampled_from(["train", "validation", "test"]),
        "country": st.sampled_from(["Austria", "Finland", "Kosovo"]),
        "contains_seasonal_snow": st.booleans(),
        "contains_cloud_or_shadow": st.booleans(),
    }
)
selections = st.builds(
    Selection,
    tiles=st.lists(st.sampled_from([A, "*_T33UUP", "S2B*", "nothing", "*[PR]", "T33UUP"]), max_size=2).map(
        tuple
    ),
    splits=st.lists(st.sampled_from(["train", "test"]), max_size=2).map(tuple),
    countries=st.lists(st.sampled_from(["Finland", "Kosovo", "Serbia"]), max_size=2).map(tuple),
    snow_cloud_shadow=st.sampled_from(["include", "exclude"]),
    max_patches=st.integers(0, 8),
)


def expected(mapped: set[str], rows: Mapping[str, Row], selection: Selection) -> list[str]:
    """The selected patches, decided patch by patch."""

    def is_selected(one: str) -> bool:
        row = rows.get(one, {})
        clear = row and not row["contains_seasonal_snow"] and not row["contains_cloud_or_shadow"]
        return (
            (not selection.tiles or any(fnmatchcase(one[:-6], pattern) for pattern in selection.tiles))
            and (not selection.splits or row.get("split") in selection.splits)
            and (not selection.countries or row.get("country") in selection.countries)
            and (selection.snow_cloud_shadow == "include" or bool(clear))
        )

    return [one for one in sorted(mapped | rows.keys()) if is_selected(one)][: selection.max_patches or None]


@settings(deadline=None)
@given(
    st.dictionaries(tiles, st.sets(st.integers(0, 30), min_size=1)),
    st.dictionaries(st.tuples(tiles, st.integers(0, 30)), facts, max_size=15),
    selections,
)
def test_the_plan_is_the_selection_patch_by_patch(
    tmp_path_factory: pytest.TempPathFactory,
    mapped: dict[str, set[int]],
    listed: dict[tuple[str, int], Row],
    selection: Selection,
) -> None:
    rows = {patch_id(*key): row_of(*key, **of) for key, of in listed.items()}
    metadata = metadata_of(tmp_path_factory.mktemp("m"), list(rows.values())) if rows else None
    ids = {patch_id(tile, cell) for tile, found in mapped.items() for cell in found}
    chosen = expected(ids, rows, selection)
    if not chosen or (metadata is None and selection.needs_metadata):
        with pytest.raises(SelectionError):
            plan_tiles(index_of(mapped), metadata, selection)
        return
    plan = plan_tiles(index_of(mapped), metadata, selection)
    assert planned(plan) == chosen
    assert plan.patches == len(chosen)
    everything = ids | rows.keys()
    for tile in plan.tiles:
        of_tile = sorted(one for one in everything if one.startswith(tile.tile))
        assert [patch_id(tile.tile, cell) for cell in tile.known] == of_tile
        assert tile.is_complete == (tile.patch_ids == of_tile)
        assert tile.whole == (tile.is_complete and not selection.needs_metadata)
    last = {one for one in everything if one[:-6] == max(everything)[:-6]}
    assert plan.reads_to_the_end == (last <= set(chosen))


def test_cells_are_columns_and_rows() -> None:
    plan = plan_tiles(index_of({A: {0, 9, 100, 2657, 9999}}), None, Selection(tiles=("S2A*",), max_patches=5))
    assert [one[len(A) :] for one in planned(plan)] == ["_00_00", "_00_09", "_01_00", "_26_57", "_99_99"]


@pytest.mark.parametrize(
    "choice", [{"splits": ["train"]}, {"countries": ["Austria"]}, {"snow_cloud_shadow": "exclude"}]
)
def test_without_metadata_only_tiles_can_be_chosen(choice: dict[str, Any]) -> None:
    with pytest.raises(
        SelectionError, match=r"no metadata files\. Put metadata\.parquet beside the archives"
    ):
        plan_tiles(index_of({A: {1}}), None, Selection.model_validate(choice))


@pytest.mark.parametrize(
    ("tiles", "selection", "words"),
    [
        ((A, B), {"countries": ["Serbia"]}, ["Serbia", f"2 tiles ({A}, {B})", "Austria, Finland"]),
        ((A, B, C), {"tiles": ["x"]}, [f"3 tiles ({A}, {B}, {C})"]),
        ((A, B, C, D), {"tiles": ["T29SND"]}, [f"4 tiles ({A}, {B}, {C}, ...)", "Did you mean *T29SND?"]),
        ((), {}, ["0 tiles ()"]),
    ],
)
def test_an_empty_selection_says_what_there_is(
    tmp_path: Path, tiles: tuple[str, ...], selection: Row, words: list[str]
) -> None:
    rows = [row_of(A, 1), row_of(B, 1, country="Finland")]
    metadata = metadata_of(tmp_path, rows) if "countries" in selection else None
    with pytest.raises(SelectionError) as caught:
        plan_tiles(index_of({tile: {1} for tile in tiles}), metadata, Selection.model_validate(selection))
    assert [word for word in words if word not in str(caught.value)] == []
