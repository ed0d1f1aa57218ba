import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bigearthnet.errors import ArchiveError
from bigearthnet.names import (
    IMAGES_ROOT,
    LAYERS,
    MAPS_ROOT,
    Member,
    Patch,
    Root,
    is_tile,
    parse_member,
    parse_patch,
)

TILE = "S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP"
OTHER = "S2B_MSIL2A_20170613T101031_N9999_R022_T33UUP"
PATCH = f"{TILE}_26_57"

tiles = st.from_regex(
    r"S2[ABCD]_MSIL2A_[0-9]{8}T[0-9]{6}_N[0-9]{4}_R[0-9]{3}_T[0-9]{2}[A-Z]{3}",
    fullmatch=True,
    alphabet=st.characters(max_codepoint=127),
)
patches = st.builds(Patch, tiles, st.integers(0, 99), st.integers(0, 99))
places = [(root, layer) for root, layers in LAYERS.items() for layer in layers]


@settings(deadline=None)
@given(patches)
def test_a_patch_id_is_read_back(patch: Patch) -> None:
    assert (
        patch.patch_id
        == f"{patch.tile}_{patch.column // 10}{patch.column % 10}_{patch.row // 10}{patch.row % 10}"
    )
    assert parse_patch(patch.patch_id) == patch
    assert is_tile(patch.tile)


@settings(deadline=None)
@given(patches, st.sampled_from(sorted(places)))
def test_a_member_is_read_back(patch: Patch, place: tuple[Root, str]) -> None:
    root, layer = place
    path = f"{root}/{patch.tile}/{patch.patch_id}/{patch.patch_id}_{layer}.tif"
    assert parse_member(path, root) == Member(patch.tile, patch.patch_id, layer)


@settings(deadline=None)
@given(
    st.text(max_size=60)
    | st.from_regex(r"S2A_MSIL2A_\d{8}T\d{6}_N\d{4}_R\d{3}_T\d{2}[A-Z]{3}", fullmatch=True)
)
def test_a_tile_is_of_ascii_characters(name: str) -> None:
    of_the_form = re.fullmatch(r"S2[A-D]_MSIL2A_\d{8}T\d{6}_N\d{4}_R\d{3}_T\d\d[A-Z]{3}", name) is not None
    assert is_tile(name) == (of_the_form and name.isascii())


@pytest.mark.parametrize(
    "patch_id",
    [
        "",
        TILE,
        f"{TILE}_26",
        f"{TILE}_26_57_B04",
        f"{TILE}_6_57",
        f"{TILE}_026_57",
        f"{PATCH}\n",
        f" {PATCH}",
        f"{TILE}_26-57",
        f"{TILE}_٢٦_57",
        PATCH.replace("2017", "٢٠١٧"),
        PATCH.replace("S2A", "S1A"),
        PATCH.replace("S2A", "S2E"),
        PATCH.replace("MSIL2A", "MSIL1C"),
        PATCH.lower(),
    ],
)
def test_what_is_no_patch_id_is_refused(patch_id: str) -> None:
    with pytest.raises(
        ValueError, match=re.escape(f"expected a patch id like <tile>_26_57, found {patch_id!r}")
    ):
        parse_patch(patch_id)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "BigEarthNet-S2",
        f"BigEarthNet-S2/{TILE}/{PATCH}/",
        f"/BigEarthNet-S2/{TILE}/{PATCH}/{PATCH}_B04.tif",
        f"./BigEarthNet-S2/{TILE}/{PATCH}/{PATCH}_B04.tif",
        f"BigEarthNet-S2/../{PATCH}/{PATCH}_B04.tif",
        f"BigEarthNet-S2/{TILE}/../{TILE}/{PATCH}/{PATCH}_B04.tif",
        f"BigEarthNet-S2/{TILE}/{PATCH}/../{PATCH}_B04.tif",
        f"BigEarthNet-S2/{TILE}/{PATCH}/{PATCH}_B04.tif/..",
        f"BigEarthNet-S2/{TILE}/{PATCH}/more/{PATCH}_B04.tif",
        f"BigEarthNet-S2//{TILE}/{PATCH}/{PATCH}_B04.tif",
        f"Reference_Maps/{TILE}/{PATCH}/{PATCH}_B04.tif",
        f"BigEarthNet-S1/{TILE}/{PATCH}/{PATCH}_B04.tif",
        f"BigEarthNet-S2/{TILE}/{PATCH}/{PATCH}_B10.tif",
        f"BigEarthNet-S2/{TILE}/{PATCH}/{PATCH}_b04.tif",
        f"BigEarthNet-S2/{TILE}/{PATCH}/{PATCH}_reference_map.tif",
        f"BigEarthNet-S2/{TILE}/{PATCH}/{PATCH}_B04.tiff",
        f"BigEarthNet-S2/{TILE}/{PATCH}/{PATCH}_B04.TIF",
        f"BigEarthNet-S2/{TILE}/{PATCH}/{PATCH}_B04",
        f"BigEarthNet-S2/{TILE}/{PATCH}/{PATCH}-B04.tif",
        f"BigEarthNet-S2/{TILE}/{PATCH}/{TILE}_26_58_B04.tif",
        f"BigEarthNet-S2/{OTHER}/{PATCH}/{PATCH}_B04.tif",
        f"BigEarthNet-S2/{TILE}/{TILE}_26_5/{TILE}_26_5_B04.tif",
        f"BigEarthNet-S2/{TILE}/{TILE}-26-57/{TILE}-26-57_B04.tif",
        f"BigEarthNet-S2/{TILE}/{TILE}_٢٦_57/{TILE}_٢٦_57_B04.tif",
        f"BigEarthNet-S2/{TILE}/{PATCH}/{PATCH}_B04.tif".replace("2017", "٢٠١٧"),
        f"BigEarthNet-S2/{TILE}/{PATCH}/{PATCH}_B04.tif".replace("T33UUP", "T33uup"),
        f"BigEarthNet-S2/{TILE}/{PATCH}/{PATCH}_B04.tif\n",
        f"BigEarthNet-S2/{TILE}/{PATCH}/{PATCH}_B04.tif\0",
    ],
)
def test_a_path_of_any_other_form_is_refused(path: str) -> None:
    expected = "expected members named BigEarthNet-S2/<tile>/<patch_id>/<patch_id>_<layer>.tif, found "
    with pytest.raises(ArchiveError, match=re.escape(expected + repr(path))):
        parse_member(path, IMAGES_ROOT)


def test_a_root_has_its_own_layers_only() -> None:
    with pytest.raises(ArchiveError, match=r"named Reference_Maps/<tile>.* found .*_B04\.tif"):
        parse_member(f"Reference_Maps/{TILE}/{PATCH}/{PATCH}_B04.tif", MAPS_ROOT)


@settings(deadline=None)
@given(st.text(alphabet="_/.0123456789BA", max_size=40), st.integers(0, 180), st.integers(0, 12))
def test_a_changed_path_is_refused_or_keeps_its_parts(put: str, at: int, cut: int) -> None:
    path = f"BigEarthNet-S2/{TILE}/{PATCH}/{PATCH}_B04.tif"
    changed = path[:at] + put + path[at + cut :]
    try:
        member = parse_member(changed, IMAGES_ROOT)
    except ArchiveError:
        return
    assert changed == f"BigEarthNet-S2/{member.tile}/{member.patch_id}/{member.patch_id}_{member.layer}.tif"
    assert parse_patch(member.patch_id).tile == member.tile
