"""The dataset card in Markdown, read by Hugging Face's own libraries."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import pyarrow.parquet as pq
import pytest
import yaml
from huggingface_hub import DatasetCard

from bigearthnet.dataset.readme import readme_md
from tests.support.drafts import draft_of
from tests.support.published import FILES, read_card

README = "README.md"


@pytest.fixture(scope="module")
def text(published_sample: Path) -> str:
    return (published_sample / README).read_text(encoding="utf-8")


def test_the_hub_reads_licence_task_and_splits(published_sample: Path, text: str) -> None:
    card, found = read_card(published_sample), DatasetCard(text).data
    assert (found.license, found.pretty_name) == ("cdla-permissive-1.0", card["title"])
    assert (found.task_categories, found.size_categories) == (["image-segmentation"], ["n<1K"])
    infos = datasets.info.DatasetInfosDict.from_dataset_card_data(found)
    examples = {name: split.num_examples for info in infos.values() for name, split in info.splits.items()}
    assert examples == {"patches": 24, **card["counts"]["splits"]}


def test_datasets_loads_the_manifest_and_each_split_of_it(
    published_sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    rows = pq.read_table(published_sample / "manifest.parquet").to_pylist()
    cache, infos = str(tmp_path), DatasetCard.load(published_sample / README).data["dataset_info"]
    stated = {split["name"]: split["num_bytes"] for info in infos for split in info["splits"]}
    everything = datasets.load_dataset(str(published_sample), cache_dir=cache)
    assert everything["patches"].to_list() == rows
    for split in ("train", "validation", "test"):
        # Fails if the numbers of examples are not those of the card.
        found = datasets.load_dataset(str(published_sample), split, split=split, cache_dir=cache)
        assert found.to_list() == [row for row in rows if row["split"] == split]
        assert stated[split] == pytest.approx(found.info.splits[split].num_bytes, rel=0.05)


def test_the_text_has_files_statistics_and_shares_of_the_card(published_sample: Path, text: str) -> None:
    card = read_card(published_sample)
    for name in FILES - {README}:
        assert f"| {name.replace('_', chr(92) + '_')} |" in text
    assert f"{card['counts']['patches']} patches of Sentinel-2" in text
    assert "the bands B04, B03, B02. Reflectance × 10,000 from 0 to 3000 became" in text
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]
    table = {cells[0]: cells[1:] for cells in lines if len(cells) > 3}
    parts = ["all", "train", "validation", "test"]
    for part in parts:
        means = " ".join(f"{value:.2f}" for value in card["images"][part]["mean"])
        assert table[part][1] == means
    assert table["value"][2:] == parts
    for entry in card["mask_classes"]:
        name, colour, *shares = table[str(entry["value"])]
        assert (name, colour) == (entry["name"], "#{:02x}{:02x}{:02x}".format(*entry["colour"]))
        for part, share in zip(parts, shares, strict=True):
            total = sum(other["pixels"][part] for other in card["mask_classes"])
            assert float(share.strip(" %")) == pytest.approx(100 * entry["pixels"][part] / total, abs=0.006)
    assert card["citation"] in text


RENDERED = [
    (
        {"stretch": "percentile", "percentiles": [2, 98]},
        "The percentiles 2 and 98 of each patch became 0 and",
    ),
    ({"stretch": "minmax", "bands": "infrared"}, "bands B08, B04, B03. Minimum and maximum of each band"),
]


@pytest.mark.parametrize(("rendering", "said"), RENDERED)
def test_the_text_says_how_images_were_made(
    published_sample: Path, tmp_path: Path, rendering: dict[str, Any], said: str
) -> None:
    draft = draft_of(published_sample, tmp_path)
    made = draft.card.model_dump()
    made["parameters"]["rendering"] |= rendering
    changed = replace(draft, card=type(draft.card).model_validate_json(json.dumps(made)))
    assert said in readme_md(changed).decode()


def test_text_of_others_is_read_neither_as_yaml_nor_as_html(published_sample: Path, tmp_path: Path) -> None:
    draft = draft_of(published_sample, tmp_path)
    title = "--- a: [b]\n---\n# <script>alert(1)</script> `é`"
    text = readme_md(replace(draft, card=draft.card.model_copy(update={"title": title}))).decode()
    assert DatasetCard(text).data.pretty_name == title
    front, body = re.split(r"^---$", text, maxsplit=2, flags=re.MULTILINE)[1:]
    assert yaml.safe_load(front)["license"] == "cdla-permissive-1.0"
    assert "<script" not in body
    assert re.findall(r"^# .*", body, re.MULTILINE)[0].startswith("# --- a: ")
