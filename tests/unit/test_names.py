import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bigearthnet import names
from bigearthnet.errors import ArchiveError
from bigearthnet.names import IMAGES_ROOT, Patch, parse_member, parse_patch

TILE = "S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP"
OTHER = "S2B_MSIL2A_20170613T101031_N9999_R022_T33UUP"
PATCH = f"{TILE}_26_57"

tiles = st.from_regex(
    r"S2[ABCD]_MSIL2A_[0-9]{8}T[0-9]{6}_N[0-9]{4}_R[0-9]{3}_T[0-9]{2}[A-Z]{3}",
    fullmatch=True,
    alphabet=st.characters(max_codepoint=127),
)
patches = st.builds(Patch, tiles, st.integers(0, 99), st.integers(0, 99))
members = st.sampled_from(sorted((root, layer) for root, layers in names.LAYERS.items() for layer in layers))


@settings(deadline=None)
@given(patches, members)
def test_names_are_read_back(patch: Patch, member: tuple[names.Root, str]) -> None:
    column, row = f"{100 + patch.column}"[1:], f"{100 + patch.row}"[1:]
    assert patch.patch_id == f"{patch.tile}_{column}_{row}"
    assert parse_patch(patch.patch_id) == patch
    root, layer = member
    path = f"{root}/{patch.tile}/{patch.patch_id}/{patch.patch_id}_{layer}.tif"
    assert parse_member(path, root) == parse_member(f"./{path}", root)
    assert parse_member(path, root) == names.Member(patch.tile, patch.patch_id, layer)


@pytest.mark.parametrize(
    "patch_id",
    [
        "",
        TILE,
        f"{PATCH}_B04",
        f"{TILE}_026_57",
        f"{PATCH}\n",
        f" {PATCH}",
        f"{TILE}_26-57",
        f"{TILE}_٢٦_57",
        PATCH.replace("2017", "٢٠١٧"),
        PATCH.replace("S2A", "S2E"),
        PATCH.replace("MSIL2A", "MSIL1C"),
        PATCH.lower(),
    ],
)
def test_other_patch_ids_are_refused(patch_id: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f"{patch_id!r} is not a patch id")):
        parse_patch(patch_id)


GOOD = f"BigEarthNet-S2/{TILE}/{PATCH}/{PATCH}_B04.tif"


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        f"././{GOOD}",
        f".{GOOD}",
        f"BigEarthNet-S2/{TILE}/../{TILE}/{PATCH}/{PATCH}_B04.tif",
        f"BigEarthNet-S2/{TILE}/{PATCH}/../{PATCH}_B04.tif",
        f"{GOOD}/..",
        f"BigEarthNet-S2//{TILE}/{PATCH}/{PATCH}_B04.tif",
        GOOD.replace("BigEarthNet-S2", "Reference_Maps"),
        GOOD.replace("_B04", "_B10"),
        GOOD.replace("_B04", "_reference_map"),
        f"{GOOD}f",
        GOOD.replace("tif", "TIF"),
        GOOD.replace(".tif", "xtif"),
        f"BigEarthNet-S2/{TILE}/{PATCH}/{TILE}_26_58_B04.tif",
        f"BigEarthNet-S2/{OTHER}/{PATCH}/{PATCH}_B04.tif",
        GOOD.replace("_26_57", "_٢٦_57"),
        GOOD.replace("T33UUP", "T33uup"),
        f"{GOOD}\n",
        f"{GOOD}\0",
    ],
)
def test_other_paths_are_refused(path: str) -> None:
    with pytest.raises(
        ArchiveError, match=re.escape(f"{path!r} is not a member of the form BigEarthNet-S2/<")
    ):
        parse_member(path, IMAGES_ROOT)


@settings(deadline=None)
@given(st.text(alphabet="_/.0123456789BA", max_size=40), st.integers(0, 180), st.integers(0, 12))
def test_a_changed_path_is_refused_or_keeps_its_parts(put: str, at: int, cut: int) -> None:
    changed = GOOD[:at] + put + GOOD[at + cut :]
    try:
        member = parse_member(changed, IMAGES_ROOT)
    except ArchiveError:
        return
    path = f"BigEarthNet-S2/{member.tile}/{member.patch_id}/{member.patch_id}_{member.layer}.tif"
    assert changed in {path, f"./{path}"}
    assert parse_patch(member.patch_id).tile == member.tile


@pytest.mark.parametrize(
    ("pattern", "hint"),
    [
        ("T33UUP", "Did you mean *T33UUP?"),
        ("*_t33uup", "Did you mean *_T33UUP?"),
        ("[T33", "Did you mean *T33*?"),
        ("['T33UUP']", "Did you mean *T33UUP?"),
        ("20170613", "Did you mean *20170613*?"),
        ("T99XXX", ""),
        ("?", ""),
        ("", ""),
    ],
)
def test_patterns_that_match_nothing_get_a_hint(pattern: str, hint: str) -> None:
    assert names.pattern_hint(pattern, [TILE, OTHER, TILE.replace("T33UUP", "T34VER")]) == hint
