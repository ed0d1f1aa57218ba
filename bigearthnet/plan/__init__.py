"""What to make: metadata, selection, and the recipe of a dataset."""

from bigearthnet.plan.metadata import Metadata, read_metadata
from bigearthnet.plan.recipe import KINDS, Kind, Recipe, RecordUsed
from bigearthnet.plan.selection import Plan, TilePlan, plan_tiles

__all__ = [
    "KINDS",
    "Kind",
    "Metadata",
    "Plan",
    "Recipe",
    "RecordUsed",
    "TilePlan",
    "plan_tiles",
    "read_metadata",
]
