from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bigearthnet.errors import SourceError
from bigearthnet.names import METADATA_FILE, METADATA_SNOW_CLOUD_SHADOW_FILE
from bigearthnet.options import COUNTRIES, LABELS
from bigearthnet.plan.metadata import Metadata, patch_id, read_metadata, s1_name

A = "S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP"
B = "S2B_MSIL2A_20180506T105029_N9999_R051_T31UER"
SPLITS = ("train", "validation", "test")

REAL = Path(__file__).parents[2].parent / "shared" / "data"
needs_real = pytest.mark.skipif(
    not (REAL / METADATA_FILE).exists(), reason="the record's files are not at hand"
)

Row = dict[str, Any]


def place(patch_id: Any) -> str:
    """The end of the name of a Sentinel-1 patch: MGRS tile, column and row without zeros in front."""
    mgrs, *cell = str(patch_id)[-11:].split("_")
    return "_".join([mgrs, *(part.lstrip("0") or "0" for part in cell)])


def row(patch_id: Any = f"{A}_26_57", **facts: Any) -> Row:
    return {
        "patch_id": patch_id,
        "labels": ["Pastures"],
        "split": "train",
        "country": "Austria",
        "s1_name": f"S1B_IW_GRDH_1SDV_20170612T165809_{place(patch_id)}",
        "contains_seasonal_snow": False,
        "contains_cloud_or_shadow": False,
    } | facts


def write(path: Path, rows: list[Row], **options: Any) -> Path:
    pq.write_table(pa.Table.from_pylist(rows), path, **options)
    return path


def read(metadata: Metadata) -> dict[str, tuple[Any, ...]]:
    """Metadata of each patch, in the words of the files."""
    return {
        patch_id(tile, one["cell"]): (
            frozenset(label for i, label in enumerate(LABELS) if int(one["labels"]) & 1 << i),
            SPLITS[one["split"]],
            COUNTRIES[one["country"]],
            bool(one["snow"]),
            bool(one["cloud"]),
            s1_name(tile, one["cell"], one["s1"]),
        )
        for tile, of_tile in metadata.items()
        for one in of_tile
    }


def stated(rows: list[Row]) -> dict[str, tuple[Any, ...]]:
    return {
        r["patch_id"]: (
            frozenset(r["labels"]),
            r["split"],
            r["country"],
            r["contains_seasonal_snow"],
            r["contains_cloud_or_shadow"],
            r["s1_name"],
        )
        for r in rows
    }


ids = st.builds("{}_{:02d}_{:02d}".format, st.sampled_from([A, B]), st.integers(0, 99), st.integers(0, 99))
rows_of_patches = st.lists(
    st.builds(
        row,
        ids,
        labels=st.lists(st.sampled_from(LABELS), unique=True, max_size=4),
        split=st.sampled_from(SPLITS),
        country=st.sampled_from(["Austria", "Finland", "Kosovo"]),
        contains_seasonal_snow=st.booleans(),
        contains_cloud_or_shadow=st.booleans(),
    ),
    unique_by=lambda r: r["patch_id"],
    min_size=2,
    max_size=12,
)


@settings(deadline=None)
@given(rows_of_patches, st.integers(1, 5))
def test_files_are_read_as_they_state(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Row], group: int
) -> None:
    folder, half = tmp_path_factory.mktemp("metadata"), len(rows) // 2
    files = [
        write(folder / "one.parquet", rows[:half], row_group_size=group),
        write(folder / "other.parquet", rows[half:], row_group_size=group),
    ]
    metadata = read_metadata(files)
    assert read(metadata) == stated(rows)
    assert list(metadata) == sorted(metadata)
    for of_tile in metadata.values():
        assert of_tile["cell"].tolist() == sorted(set(of_tile["cell"].tolist()))


def test_batches_and_row_groups_do_not_matter(tmp_path: Path) -> None:
    rows = [
        row(
            f"{(A, B)[i % 2]}_{i // 200:02d}_{i // 2 % 100:02d}",
            labels=[LABELS[i % 19], LABELS[(i + 7) % 19]],
        )
        for i in range(10_000)
    ]
    file = write(tmp_path / "metadata.parquet", rows, row_group_size=3000)
    assert read(read_metadata([file])) == stated(rows)


@needs_real
def test_the_real_files_are_read_as_they_state() -> None:
    files = [REAL / METADATA_FILE, REAL / METADATA_SNOW_CLOUD_SHADOW_FILE]
    clear, both = read_metadata(files[:1]), read_metadata(files)
    splits = Counter(split for rows in clear.values() for split in rows["split"].tolist())
    assert [splits[i] for i in range(3)] == [237_871, 122_342, 119_825]
    sizes = [len(rows) for rows in both.values()]
    assert (len(sizes), sum(sizes), min(sizes), max(sizes)) == (115, 480_038 + 69_450, 95, 8_269)
    assert sum(int((rows["snow"] | rows["cloud"]).sum()) for rows in both.values()) == 69_450
    assert {i for rows in both.values() for i in rows["country"].tolist()} == set(range(len(COUNTRIES)))
    assert sum(rows.nbytes for rows in both.values()) < 15_000_000
    for file in files:
        table = pq.read_table(file)
        rows = [*table.slice(0, 900).to_pylist(), *table.slice(len(table) - 900).to_pylist()]
        tiles = {r["patch_id"][:-6] for r in rows}
        found = read({tile: both[tile] for tile in tiles})
        assert {r["patch_id"]: found[r["patch_id"]] for r in rows} == stated(rows)


@pytest.mark.parametrize("name", ["", "S1B", "S1B_IW_GRDH_1SDV_20170612T165809", "x" * 99, None])
def test_names_of_another_form_are_not_known(tmp_path: Path, name: str | None) -> None:
    metadata = read_metadata([write(tmp_path / "metadata.parquet", [row(), row(f"{A}_00_00", s1_name=name)])])
    assert [one["s1"] for one in metadata[A]] == [b"", b"B20170612T165809"]
    unnamed = {key: value for key, value in row().items() if key != "s1_name"}
    metadata = read_metadata([write(tmp_path / "metadata.parquet", [unnamed])])
    assert [s1_name(A, one["cell"], one["s1"]) for one in metadata[A]] == [None]


def refused(file: Path, message: str) -> None:
    with pytest.raises(SourceError) as caught:
        read_metadata([file])
    assert str(caught.value).removeprefix("metadata.parquet").lstrip(": ").startswith(message)


def test_the_number_of_tiles_has_a_limit(tmp_path: Path) -> None:
    tiles = [f"S2A_MSIL2A_{n:08d}T101031_N9999_R022_T33UUP" for n in range(1001)]
    refused(write(tmp_path / "metadata.parquet", [row(f"{tile}_00_00") for tile in tiles]), "has more than")


ENDS = ("", "_26", "-26-57", "x26_57", "_26x57", "_+6_57", "_ 6_57", "_2657", "_26_5٣", "_26_57\n")


@pytest.mark.parametrize(
    "patch_id",
    [
        *("", "ab", f"{A}_26_57".replace("2017", "٢٠١٧"), f"{A}_26_57".replace("S2A", "S1A")),
        *(A + end for end in ENDS),
    ],
)
def test_other_patch_ids_are_refused(tmp_path: Path, patch_id: str) -> None:
    file = write(tmp_path / "metadata.parquet", [row(), row(patch_id), row(f"{A}_00_00")])
    refused(file, f"{patch_id!r} is not a patch id")


NOT_OURS = "this is not a metadata file of the record, or damaged ("


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"split": "val"}, "'val' is not a split of BigEarthNet: train, validation, test"),
        ({"split": 3}, "'3' is not a split"),
        ({"country": "Germany"}, "'Germany' is not a country of BigEarthNet: Austria, Belgium, "),
        ({"labels": ["Pastures", "Grass"]}, "'Grass' is not a label of BigEarthNet: Urban fabric, "),
        ({"labels": ["Pastures", None]}, "None is not a label"),
        ({"labels": "Pastures"}, NOT_OURS),
        ({"contains_seasonal_snow": "x"}, f"{NOT_OURS}Failed to parse value: x). Fetch it again."),
        ({"patch_id": 3}, "'3' is not a patch id"),
    ],
)
def test_wrong_values_are_refused(tmp_path: Path, wrong: Row, message: str) -> None:
    refused(write(tmp_path / "metadata.parquet", [row() | wrong]), message)


@pytest.mark.parametrize("column", [name for name in row() if name != "s1_name"])
def test_missing_values_and_columns_are_refused(tmp_path: Path, column: str) -> None:
    file = write(tmp_path / "metadata.parquet", [row(), row(f"{A}_26_58") | {column: None}])
    refused(file, f"a patch has no {column}")
    write(file, [{name: value for name, value in row().items() if name != column}])
    refused(file, f"there is no column {column}")


def test_a_patch_that_is_listed_twice_is_refused(tmp_path: Path) -> None:
    one = write(tmp_path / "one.parquet", [row(f"{A}_05_07"), row()])
    other = write(tmp_path / "other.parquet", [row(f"{A}_05_07", contains_seasonal_snow=True)])
    message = rf"^one\.parquet and other\.parquet: the patch {A}_05_07 is listed twice$"
    with pytest.raises(SourceError, match=message):
        read_metadata([one, other])


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = [row(f"{A}_{i // 90:02d}_{i % 90:02d}", country=COUNTRIES[i % 9]) for i in range(300)]
    return write(tmp_path_factory.mktemp("intact") / "metadata.parquet", rows)


@settings(deadline=None)
@given(st.data())
def test_a_damaged_file_is_refused_or_read(file: Path, data: st.DataObject) -> None:
    whole = file.read_bytes()
    damaged = bytearray(whole)
    damaged[data.draw(st.integers(0, len(whole) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        file.write_bytes(damaged)
        read_metadata([file])
    except SourceError as error:
        assert str(error).startswith("metadata.parquet: ")  # noqa: PT017 - Parquet need not notice
    finally:
        file.write_bytes(whole)


def test_other_files_and_files_cut_off_are_refused(tmp_path: Path, file: Path) -> None:
    whole = file.read_bytes()
    others = [b"<html>" * 100, b"PAR1" + bytes(100) + b"PAR1"]
    for data in [*others, *(whole[:size] for size in range(0, len(whole), 199))]:
        (tmp_path / "metadata.parquet").write_bytes(data)
        refused(tmp_path / "metadata.parquet", NOT_OURS)
