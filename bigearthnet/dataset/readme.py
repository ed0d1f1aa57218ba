"""The dataset card as people and the Hugging Face Hub read it: Markdown after YAML.

Source: the Hub's dataset card metadata specification (huggingface_hub, `datasetcard.md`).
"""

from collections import Counter
from typing import Any, Final

import pyarrow.compute as pc
import pyarrow.parquet as pq
import yaml

from bigearthnet.dataset import layout
from bigearthnet.dataset.card import Card, ClassEntry, Part
from bigearthnet.dataset.draft import Draft
from bigearthnet.dataset.formats.samples import NO_SPLIT
from bigearthnet.dataset.report import escape, table
from bigearthnet.names import RGB_BANDS
from bigearthnet.options import FormatName, Rendering

PROJECT: Final = "https://github.com/bigearthnet-prefect/bigearthnet-prefect"
_SIZES: Final = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
_TAGS: Final = ("remote-sensing", "earth-observation", "sentinel-2", "land-cover", "corine", "bigearthnet")
_FILES: Final = {
    layout.IMAGES_ZIP: "<patch_id>.png: 8-bit RGB, 120 × 120 pixels of 10 m",
    layout.MASKS_ZIP: "<patch_id>_mask.png: the same pixels, one channel",
    layout.MANIFEST: "a row for each patch, in the order of the zips: offsets of the PNGs, split, labels",
    layout.CARD: "source, options, counts, classes, statistics, SHA-256 of all files",
    layout.FOOTPRINTS: "GeoParquet: the outline of each patch",
    layout.PREVIEW: "some images and masks",
    layout.PAGE: "a page with 120 images and masks, a map, and the classes by split, for any browser",
    layout.INDEX: "the index by which that page finds any patch, over HTTP",
    layout.QUALITY: "patches that are constant, black, saturated, mostly unlabelled or there twice",
    layout.QUALITY_SHEET: "the worst of them, a row a check in the order of quality.json",
    layout.CROISSANT: "Croissant metadata",
}
_FORMATS: Final[dict[FormatName, str]] = {
    "webdataset": "tars of <patch_id>.image.png, .mask.png and .json; a set a split, shuffled",
    "parquet": "Parquet files with the images and masks themselves; a set a split, shuffled",
}
_LOAD: Final = f"""## Load it

[`bigearthnet_reader.py`]({PROJECT}/blob/main/examples/bigearthnet_reader.py) is one file to copy.
It reads from a folder, from URLs or from S3, in any number of processes, and needs no unpacking:

```python
from bigearthnet_reader import BigEarthNet

train = BigEarthNet("path/to/this/folder", split="train")
image, mask = train[0]  # uint8: (120, 120, 3) RGB, and (120, 120) with 255 where there is no class
```

For other programs, unzip both zips: images and masks pair up by their sorted names. Read masks unchanged, as
with `cv2.IMREAD_UNCHANGED`. `datasets.load_dataset` loads the manifest: `all` has all patches, and `train`,
`validation` and `test` have those of a split."""
_LOAD_IMAGES: Final = " `images` has the images and masks of all splits, from `parquet/`."


def readme_md(draft: Draft) -> bytes:
    """Return the dataset card; text of others is escaped."""
    card = draft.card
    front = yaml.safe_dump(_front_matter(draft), sort_keys=False, allow_unicode=True, width=1000)
    formats = card.parameters.packaging.formats
    files = [*_FILES.items(), *((f"{name}/", _FORMATS[name]) for name in formats)]
    sections = [
        f"---\n{front}---",
        f"# {escape(card.title)}",
        f"{card.counts.patches:,} patches of Sentinel-2 as RGB PNGs of 120 × 120 pixels, with masks of their "
        f"land cover, for semantic segmentation. Made by [bigearthnet-prefect]({PROJECT}).",
        "## Files\n\n" + table(("file", "content"), files),
        _LOAD + (_LOAD_IMAGES if "parquet" in formats else ""),
        f"## How it was made\n\n{_made(card)}",
        _splits(card),
        _classes(card),
        f"## Licence and citation\n\n{escape(card.license)}. Please cite:\n\n> {escape(card.citation)}",
    ]
    return ("\n\n".join(sections) + "\n").encode()


def _front_matter(draft: Draft) -> dict[str, Any]:
    """Return the Hub's metadata: a configuration for all rows of the manifest, one a split, and `images`."""
    card = draft.card
    examples = [("patches", card.counts.patches), *card.counts.splits.items()]
    num_bytes = _bytes_in_memory(draft)
    configs: list[dict[str, Any]] = []
    infos = []
    for split, patches in examples:
        name = "all" if split == "patches" else split  # the Hub allows no split of the name "all"
        only = {} if split == "patches" else {"filters": [["split", "==", split]]}
        configs.append(
            {"config_name": name, "data_files": [{"split": split, "path": layout.MANIFEST}], **only}
        )
        size = {"name": split, "num_bytes": num_bytes[split], "num_examples": patches}
        infos.append({"config_name": name, "splits": [size], "dataset_size": num_bytes[split]})
    configs[0]["default"] = True
    if "parquet" in card.parameters.packaging.formats:
        files = [{"split": split, "path": f"parquet/{split}-*.parquet"} for split in _with_patches(card)]
        configs.append({"config_name": "images", "data_files": files})
    return {
        "pretty_name": card.title,
        "license": card.license.lower(),
        "task_categories": ["image-segmentation"],
        "task_ids": ["semantic-segmentation"],
        "size_categories": [next(name for end, name in _SIZES if card.counts.patches < end)],
        "tags": list(_TAGS),
        "configs": configs,
        "dataset_info": infos,
    }


def _with_patches(card: Card) -> list[str]:
    unassigned = card.counts.patches - sum(card.counts.splits.values())
    return [*card.counts.splits, *([NO_SPLIT] if unassigned else [])]


def _bytes_in_memory(draft: Draft) -> Counter[str]:
    """Return the size of the rows of all patches and of each split, as `datasets` counts it: in Arrow."""
    found = Counter[str]()
    for _, rows in draft.rows(pq.read_schema(draft.manifest).names):
        found["patches"] += rows.nbytes
        for split in draft.card.counts.splits:
            found[split] += rows.filter(pc.equal(rows.column("split"), split)).nbytes
    return found


def _made(card: Card) -> str:
    rendering, source = card.parameters.rendering, card.source
    record = f"record {source.record}, version {source.version}" if source.record else "a folder"
    files = [(file.name, file.md5) for file in source.files]
    return (
        f"Red, green and blue are the bands {', '.join(RGB_BANDS[rendering.bands])}. {_stretch(rendering)} "
        f"Masks have the form {escape(rendering.mask_classes)}; {card.ignore_index} is where there is no "
        f"class.\n\nSource: {escape(record)}.\n\n{table(('file', 'md5'), files)}"
    )


def _stretch(rendering: Rendering) -> str:
    if rendering.stretch == "reflectance":
        return f"Reflectance × 10,000 from 0 to {rendering.reflectance_max} became 0 to 255, in all patches."
    if rendering.stretch == "percentile":
        low, high = rendering.percentiles
        return f"The percentiles {low:g} and {high:g} of each patch became 0 and 255."
    return "Minimum and maximum of each band of each patch became 0 and 255."


def _splits(card: Card) -> str:
    rows = []
    for part, moments in card.images.items():
        patches = card.counts.patches if part == "all" else card.counts.splits[part]
        channels = [" ".join(f"{value:.2f}" for value in values) for values in (moments.mean, moments.std)]
        rows.append((part, f"{patches:,}", *channels))
    return "## Splits\n\n" + table(("split", "patches", "mean (R G B)", "standard deviation"), rows)


def _classes(card: Card) -> str:
    parts: list[Part] = list(card.images)
    totals = {part: sum(entry.pixels[part] for entry in card.mask_classes) for part in parts}

    def row(entry: ClassEntry) -> tuple[str, ...]:
        shares = (f"{100 * entry.pixels[part] / totals[part]:.2f} %" for part in parts)
        return (str(entry.value), entry.name, "#" + bytes(entry.colour).hex(), *shares)

    return "## Classes\n\n" + table(
        ("value", "class", "colour", *parts), [row(one) for one in card.mask_classes]
    )
