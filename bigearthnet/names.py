"""Names of BigEarthNet v2: record files, tiles, patches, bands and archive members.

Source: the published dataset (DOI 10.5281/zenodo.10891137) and Clasen et al. 2025.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from bigearthnet.errors import ArchiveError

ZENODO_RECORD = "10891137"
TILES_LIMIT: Final = 1000
"""Most tiles that are accepted: the dataset has 115, and each takes memory."""

IMAGES_ARCHIVE = "BigEarthNet-S2.tar.zst"
MAPS_ARCHIVE = "Reference_Maps.tar.zst"
METADATA_FILE = "metadata.parquet"
METADATA_SNOW_CLOUD_SHADOW_FILE = "metadata_for_patches_with_snow_cloud_or_shadow.parquet"
METADATA_FILES = (METADATA_FILE, METADATA_SNOW_CLOUD_SHADOW_FILE)

Root = Literal["BigEarthNet-S2", "Reference_Maps"]
IMAGES_ROOT: Final = "BigEarthNet-S2"
MAPS_ROOT: Final = "Reference_Maps"

BANDS = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B09", "B11", "B12", "B8A")
"""All bands of a patch, in the order of the archive."""
BandSet = Literal["true_colour", "infrared"]
RGB_BANDS: Final[dict[BandSet, tuple[str, str, str]]] = {
    "true_colour": ("B04", "B03", "B02"),
    "infrared": ("B08", "B04", "B03"),
}
"""The bands, of 10 m each, that are shown as red, green and blue."""
MAP = "reference_map"
"""Stands in the file name of a reference map where an image has its band."""
LAYERS: Final[dict[Root, frozenset[str]]] = {IMAGES_ROOT: frozenset(BANDS), MAPS_ROOT: frozenset({MAP})}
"""Layers (bands, or the map) of a patch in the archive of each root."""

PATCH_PIXELS = 120
"""Pixels along the side of a patch, at 10 m."""
PIXEL_METRES = 10
PATCH_METRES = PATCH_PIXELS * PIXEL_METRES

TILE_PATTERN: Final = r"S2[A-D]_MSIL2A_[0-9]{8}T[0-9]{6}_N[0-9]{4}_R[0-9]{3}_T[0-9]{2}[A-Z]{3}"
PATCH_PATTERN: Final = rf"(?P<tile>{TILE_PATTERN})_(?P<column>[0-9]{{2}})_(?P<row>[0-9]{{2}})"
"""Regular expression of a patch id, for Python and RE2."""
_MEMBER_RE = re.compile(
    rf"(?:\./)?([^/]+)/({TILE_PATTERN})/(\2_[0-9]{{2}}_[0-9]{{2}})/\3_(\w+)\.tif", re.ASCII
)


@dataclass(frozen=True, slots=True, order=True)
class Patch:
    """A patch: its tile, and its column (to the east) and row (to the south) in the tile."""

    tile: str
    column: int
    row: int

    @property
    def patch_id(self) -> str:
        """The dataset's key of the patch, `<tile>_<column>_<row>`."""
        return f"{self.tile}_{self.column:02d}_{self.row:02d}"


class Member(NamedTuple):
    """The parts of a member's path (a tuple, because there are 6.6 million of them)."""

    tile: str
    patch_id: str
    layer: str


def parse_patch(patch_id: str) -> Patch:
    """Split a patch id into tile, column and row.

    Raises:
        ValueError: it is not a patch id of BigEarthNet v2.
    """
    match = re.fullmatch(PATCH_PATTERN, patch_id)
    if match is None:
        raise ValueError(f"{patch_id!r} is not a patch id, which has the form <tile>_26_57")
    return Patch(match["tile"], int(match["column"]), int(match["row"]))


def parse_member(path: str, root: Root) -> Member:
    """Split the path of a member: `<root>/<tile>/<patch_id>/<patch_id>_<layer>.tif`, also behind `./`.

    Raises:
        ArchiveError: the path has another form and must not be used.
    """
    match = _MEMBER_RE.fullmatch(path)
    if match is None or match[1] != root or match[4] not in LAYERS[root]:
        raise ArchiveError(
            f"{path[:300]!r} is not a member of the form {root}/<tile>/<patch_id>/<patch_id>_<layer>.tif. "
            f"If you packed the archive yourself, pack it again: {pack_command(root)}"
        )
    return Member(match[2], match[3], match[4])


def pack_command(root: Root) -> str:
    """Return the shell command that packs the folder `root` in the published form."""
    return (
        f"find {root} -name 'S2*.tif' | LC_ALL=C sort | "
        f"COPYFILE_DISABLE=1 tar -c -f - --no-recursion -T - | zstd -f -o {root}.tar.zst"
    )


def pattern_hint(pattern: str, tiles: Collection[str]) -> str:
    """Suggest a pattern that matches some of `tiles`, for one that matches none of them.

    Returns:
        A sentence, or nothing if no tile has the pattern's text in its name.
    """
    text = pattern.strip("*?[]()'\", ").upper()
    if not text or not any(text in tile for tile in tiles):
        return ""
    at_the_end = all(tile.endswith(text) for tile in tiles if text in tile)
    return f"Did you mean *{text}{'' if at_the_end else '*'}?"
