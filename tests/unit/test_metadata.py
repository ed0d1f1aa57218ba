from collections import Counter
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bigearthnet.errors import SourceError
from bigearthnet.names import METADATA_FILE, METADATA_SNOW_CLOUD_SHADOW_FILE
from bigearthnet.options import Country
from bigearthnet.plan.metadata import LABELS, Metadata, read_metadata

A = "S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP"
B = "S2B_MSIL2A_20180506T105029_N9999_R051_T31UER"
SPLITS = ("train", "validation", "test")

REAL = Path(__file__).parents[2].parent / "shared" / "data"
needs_real = pytest.mark.skipif(
    not (REAL / METADATA_FILE).exists(), reason="the record's files are not at hand"
)

Row = dict[str, Any]


def row(patch_id: Any = f"{A}_26_57", **facts: Any) -> Row:
    return {
        "patch_id": patch_id,
        "labels": ["Pastures"],
        "split": "train",
        "country": "Austria",
        "s1_name": "",
        "contains_seasonal_snow": False,
        "contains_cloud_or_shadow": False,
    } | facts


def write(path: Path, rows: list[Row], **options: Any) -> Path:
    pq.write_table(pa.Table.from_pylist(rows), path, **options)
    return path


def told(metadata: Metadata) -> dict[str, tuple[Any, ...]]:
    """What the metadata says of each patch, in the words of the files."""
    return {
        f"{tile}_{one['place'] // 100:02d}_{one['place'] % 100:02d}": (
            frozenset(label for i, label in enumerate(LABELS) if int(one["labels"]) & 1 << i),
            SPLITS[one["split"]],
            metadata.countries[one["country"]],
            bool(one["snow"]),
            bool(one["cloud"]),
        )
        for tile in metadata.tiles
        for one in metadata.rows(tile)
    }


def stated(rows: list[Row]) -> dict[str, tuple[Any, ...]]:
    return {
        r["patch_id"]: (
            frozenset(r["labels"]),
            r["split"],
            r["country"],
            r["contains_seasonal_snow"],
            r["contains_cloud_or_shadow"],
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
def test_everything_is_told_as_the_files_state_it(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Row], group: int
) -> None:
    folder = tmp_path_factory.mktemp("metadata")
    half = len(rows) // 2
    files = [
        write(folder / "one.parquet", rows[:half], row_group_size=group),
        write(folder / "other.parquet", rows[half:], row_group_size=group),
    ]
    metadata = read_metadata(files)
    assert told(metadata) == stated(rows)
    assert list(metadata.tiles) == sorted(metadata.tiles)
    for tile in metadata.tiles:
        assert (np.diff(metadata.rows(tile)["place"].astype(int)) > 0).all()
    assert len(metadata.rows("S2C_MSIL2A_20180506T105029_N9999_R051_T31UER")) == 0


def test_batches_and_row_groups_do_not_matter(tmp_path: Path) -> None:
    rows = [
        row(
            f"{(A, B)[i % 2]}_{i // 200:02d}_{i // 2 % 100:02d}",
            labels=[LABELS[i % 19], LABELS[(i + 7) % 19]],
        )
        for i in range(10_000)
    ]
    assert told(read_metadata([write(tmp_path / "metadata.parquet", rows, row_group_size=3000)])) == stated(
        rows
    )


@pytest.fixture(scope="module")
def real() -> Metadata:
    return read_metadata([REAL / METADATA_FILE, REAL / METADATA_SNOW_CLOUD_SHADOW_FILE])


@needs_real
def test_the_real_files_count_as_published(real: Metadata) -> None:
    clear = read_metadata([REAL / METADATA_FILE])
    splits = Counter(split for tile in clear.tiles for split in clear.rows(tile)["split"].tolist())
    assert [splits[i] for i in range(3)] == [237_871, 122_342, 119_825]
    assert sum(len(clear.rows(tile)) for tile in clear.tiles) == 480_038
    sizes = [len(real.rows(tile)) for tile in real.tiles]
    assert (len(sizes), sum(sizes), min(sizes), max(sizes)) == (115, 480_038 + 69_450, 95, 8_269)
    clouded = sum(int((rows["snow"] | rows["cloud"]).sum()) for rows in real.tiles.values())
    assert clouded == 69_450
    assert sorted(real.countries) == sorted(get_args(Country))
    assert sum(rows.nbytes for rows in real.tiles.values()) < 6_000_000


@needs_real
@pytest.mark.parametrize("name", [METADATA_FILE, METADATA_SNOW_CLOUD_SHADOW_FILE])
def test_the_real_files_are_told_as_they_state_it(real: Metadata, name: str) -> None:
    table = pq.read_table(REAL / name)
    rows = [*table.slice(0, 900).to_pylist(), *table.slice(len(table) - 900).to_pylist()]
    tiles = {r["patch_id"][:-6] for r in rows}
    said = told(Metadata({tile: real.rows(tile) for tile in tiles}, real.countries))
    assert {r["patch_id"]: said[r["patch_id"]] for r in rows} == stated(rows)


@pytest.mark.parametrize(
    "patch_id",
    [
        "",
        "ab",
        A,
        f"{A}_26",
        f"{A}-26-57",
        f"{A}x26_57",
        f"{A}_26x57",
        f"{A}_+6_57",
        f"{A}_ 6_57",
        f"{A}_2657",
        f"{A}_26_5٣",
        f"{A}_26_57\n",
        f"{A}_26_57".replace("2017", "٢٠١٧"),
        f"{A}_26_57".replace("S2A", "S1A"),
    ],
)
def test_what_is_no_patch_id_is_refused_and_told(tmp_path: Path, patch_id: str) -> None:
    file = write(tmp_path / "metadata.parquet", [row(), row(patch_id), row(f"{A}_00_00")])
    with pytest.raises(SourceError) as caught:
        read_metadata([file])
    assert str(caught.value) == f"metadata.parquet: expected patch ids like <tile>_26_57, found {patch_id!r}"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"split": "val"}, r"expected a split out of \['train', 'validation', 'test'\], found 'val'"),
        ({"split": 3}, "found '3'"),
        ({"labels": ["Pastures", "Grass"]}, r"expected a label out of \['Urban fabric', .*\], found 'Grass'"),
        ({"labels": ["Pastures", None]}, "expected a label out of .* found None"),
        ({"labels": "Pastures"}, r"something else \(.*cast.*\); fetch it again"),
        ({"contains_seasonal_snow": "x"}, r"something else \(Failed to parse value: x\); fetch it again"),
        ({"patch_id": 3}, "expected patch ids like <tile>_26_57, found '3'"),
    ],
)
def test_wrong_values_are_refused(tmp_path: Path, wrong: Row, message: str) -> None:
    file = write(tmp_path / "metadata.parquet", [row() | wrong])
    with pytest.raises(SourceError, match=rf"^metadata\.parquet: .*{message}"):
        read_metadata([file])


@pytest.mark.parametrize("column", [name for name in row() if name != "s1_name"])
def test_a_missing_value_is_refused(tmp_path: Path, column: str) -> None:
    file = write(tmp_path / "metadata.parquet", [row(), row(f"{A}_26_58") | {column: None}])
    with pytest.raises(
        SourceError, match=rf"^metadata\.parquet: expected a value of {column} for each patch, found null"
    ):
        read_metadata([file])


@pytest.mark.parametrize("column", [name for name in row() if name != "s1_name"])
def test_a_missing_column_is_refused(tmp_path: Path, column: str) -> None:
    without = {name: value for name, value in row().items() if name != column}
    file = write(tmp_path / "metadata.parquet", [without])
    with pytest.raises(SourceError, match=rf"^metadata\.parquet: expected a column {column}, found \["):
        read_metadata([file])


def test_a_patch_that_is_listed_twice_is_refused(tmp_path: Path) -> None:
    one = write(tmp_path / "one.parquet", [row(f"{A}_05_07"), row()])
    other = write(tmp_path / "other.parquet", [row(f"{A}_05_07", contains_seasonal_snow=True)])
    message = rf"^one\.parquet and other\.parquet: expected each patch once, found {A}_05_07 twice$"
    with pytest.raises(SourceError, match=message):
        read_metadata([one, other])


@pytest.mark.parametrize("data", [b"", b"PAR1", b"<html>" * 100, b"PAR1" + bytes(100) + b"PAR1"])
def test_what_is_no_parquet_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "metadata.parquet").write_bytes(data)
    message = (
        r"^metadata\.parquet: expected a Parquet file with the record's metadata, found something else \("
    )
    with pytest.raises(SourceError, match=message):
        read_metadata([tmp_path / "metadata.parquet"])


@pytest.fixture(scope="module")
def intact(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    rows = [row(f"{A}_{i // 90:02d}_{i % 90:02d}", country=f"Country {i % 9}") for i in range(300)]
    return write(tmp_path_factory.mktemp("intact") / "m.parquet", rows).read_bytes()


@settings(deadline=None)
@given(st.data())
def test_a_damaged_file_is_refused_or_read_but_never_a_riddle(
    tmp_path_factory: pytest.TempPathFactory, intact: bytes, data: st.DataObject
) -> None:
    at = data.draw(st.integers(0, len(intact) - 1))
    damaged = bytearray(intact)
    damaged[at] ^= data.draw(st.integers(1, 255))
    file = tmp_path_factory.mktemp("damaged") / "metadata.parquet"
    file.write_bytes(damaged)
    try:
        read_metadata([file])
    except SourceError as error:
        assert str(error).startswith("metadata.parquet: expected ")  # noqa: PT017 - Parquet need not notice


def test_a_file_that_is_cut_off_is_refused(tmp_path: Path, intact: bytes) -> None:
    file = tmp_path / "metadata.parquet"
    for size in range(0, len(intact), 199):
        file.write_bytes(intact[:size])
        with pytest.raises(SourceError, match=r"^metadata\.parquet: expected a Parquet file"):
            read_metadata([file])
