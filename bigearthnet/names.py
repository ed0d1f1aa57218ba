"""The names of BigEarthNet v2: record files, tiles, patches, bands, and members of its archives.

Source of the layout: the published dataset (DOI 10.5281/zenodo.10891137) and Clasen et al. 2025.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal, NamedTuple

from bigearthnet.errors import ArchiveError

ZENODO_RECORD = "10891137"

IMAGES_ARCHIVE = "BigEarthNet-S2.tar.zst"
MAPS_ARCHIVE = "Reference_Maps.tar.zst"
METADATA_FILE = "metadata.parquet"
METADATA_SNOW_CLOUD_SHADOW_FILE = "metadata_for_patches_with_snow_cloud_or_shadow.parquet"
METADATA_FILES = (METADATA_FILE, METADATA_SNOW_CLOUD_SHADOW_FILE)

IMAGES_ROOT: Final = "BigEarthNet-S2"
MAPS_ROOT: Final = "Reference_Maps"

BANDS = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B09", "B11", "B12", "B8A")
"""All bands of a patch, in the order of the archive."""
RGB_BANDS = ("B04", "B03", "B02")
"""Red, green, blue."""
MAP = "reference_map"
"""What stands in a reference map's file name where a band's name stands in an image's."""

PATCH_PIXELS = 120
"""Pixels along the side of a patch, at 10 m."""
PIXEL_METRES = 10
PATCH_METRES = PATCH_PIXELS * PIXEL_METRES

_TILE = r"S2[A-D]_MSIL2A_[0-9]{8}T[0-9]{6}_N[0-9]{4}_R[0-9]{3}_T[0-9]{2}[A-Z]{3}"
_TILE_RE = re.compile(_TILE)
PATCH_PATTERN: Final = rf"({_TILE})_([0-9]{{2}})_([0-9]{{2}})"
"""A patch id as regular expression (of Python and RE2 alike): tile, column, row."""
_PATCH_RE = re.compile(PATCH_PATTERN)

Root = Literal["BigEarthNet-S2", "Reference_Maps"]
LAYERS: Final[dict[Root, frozenset[str]]] = {IMAGES_ROOT: frozenset(BANDS), MAPS_ROOT: frozenset({MAP})}
"""Which layers (bands, or the map) a patch has in the archive of each root."""


@dataclass(frozen=True, slots=True, order=True)
class Patch:
    """A patch: its tile, and its place there in columns (to the east) and rows (to the south)."""

    tile: str
    column: int
    row: int

    @property
    def patch_id(self) -> str:
        """The dataset's key of the patch, `<tile>_<column>_<row>`."""
        return f"{self.tile}_{self.column:02d}_{self.row:02d}"


class Member(NamedTuple):
    """What the path of an archive's member says (a tuple: one is made for each of 6.6 million files)."""

    tile: str
    patch_id: str
    layer: str


@lru_cache(maxsize=256)
def is_tile(name: str) -> bool:
    """Whether `name` is the name of a tile, such as `S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP`."""
    return _TILE_RE.fullmatch(name) is not None


def parse_patch(patch_id: str) -> Patch:
    """Take a patch id apart.

    Raises:
        ValueError: it is no patch id of BigEarthNet v2.
    """
    match = _PATCH_RE.fullmatch(patch_id)
    if match is None:
        raise ValueError(f"expected a patch id like <tile>_26_57, found {patch_id!r}")
    return Patch(match[1], int(match[2]), int(match[3]))


def parse_member(path: str, root: Root) -> Member:
    """Take the path of a member apart: `<root>/<tile>/<patch_id>/<patch_id>_<layer>.tif`.

    Raises:
        ArchiveError: the path is of any other form. Nothing of it may be used as a path then.
    """
    parts = path.split("/")
    if len(parts) == 4:
        top, tile, patch_id, file = parts
        place = patch_id[len(tile) :]
        layer = file[len(patch_id) + 1 : -4]
        if (
            top == root
            and is_tile(tile)
            and patch_id.startswith(tile)
            and len(place) == 6
            and place[0] == place[3] == "_"
            and place[1:3].isdecimal()
            and place[4:6].isdecimal()
            and place.isascii()
            and layer in LAYERS[root]
            and file == f"{patch_id}_{layer}.tif"
        ):
            return Member(tile, patch_id, layer)
    raise ArchiveError(
        f"expected members named {root}/<tile>/<patch_id>/<patch_id>_<layer>.tif, found {path!r}; "
        "this is not an archive of BigEarthNet v2, or it was packed anew in another layout"
    )
