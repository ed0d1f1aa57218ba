import json
from typing import Any

import pytest
from pydantic import ValidationError

from bigearthnet.options import Rendering, Selection


def test_everything_is_asked_for_unless_something_is_chosen() -> None:
    assert Selection().model_dump() == {
        "tiles": (),
        "splits": (),
        "countries": (),
        "snow_cloud_shadow": "include",
        "max_patches": 0,
    }
    assert Rendering().model_dump() == {
        "stretch": "reflectance",
        "reflectance_max": 3000,
        "percentiles": (2.0, 98.0),
        "mask_classes": "clc",
        "png_compression": 1,
    }


@pytest.mark.parametrize(
    ("choice", "needed"),
    [
        ({}, False),
        ({"tiles": ["*"], "max_patches": 3}, False),
        ({"splits": ["train"]}, True),
        ({"countries": ["Austria"]}, True),
        ({"snow_cloud_shadow": "exclude"}, True),
        ({"snow_cloud_shadow": "include"}, False),
    ],
)
def test_metadata_is_needed_for_what_only_it_knows(choice: dict[str, Any], needed: bool) -> None:
    assert Selection.model_validate(choice).needs_metadata is needed


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"splits": ["val"]}, "Input should be 'train', 'validation' or 'test'"),
        ({"countries": ["Germany"]}, "Input should be 'Austria', 'Belgium'"),
        ({"snow_cloud_shadow": "only"}, "Input should be 'include' or 'exclude'"),
        ({"max_patches": -1}, "greater than or equal to 0"),
        ({"patches": 3}, "Extra inputs are not permitted"),
    ],
)
def test_a_selection_that_cannot_be_is_refused(choice: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Selection.model_validate(choice)


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"stretch": "gamma"}, "Input should be 'reflectance', 'percentile' or 'minmax'"),
        ({"reflectance_max": 0}, "greater than or equal to 1"),
        ({"reflectance_max": 65536}, "less than or equal to 65535"),
        (
            {"percentiles": [98, 2]},
            "expected the low one before the high one, such as 2 and 98, found 98 and 2",
        ),
        ({"percentiles": [2, 2]}, "found 2 and 2"),
        ({"percentiles": [-1, 98]}, "greater than or equal to 0"),
        ({"percentiles": [2, 100.5]}, "less than or equal to 100"),
        ({"percentiles": [float("nan"), 98]}, "Input should be .*input_value=nan"),
        ({"percentiles": [2]}, "Field required"),
        ({"mask_classes": "clc_l2"}, "Input should be 'clc', 'clc_l3', 'clc_l1' or 'ben19'"),
        ({"png_compression": 10}, "less than or equal to 9"),
        ({"png_compression": -1}, "greater than or equal to 0"),
    ],
)
def test_a_rendering_that_cannot_be_is_refused(choice: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Rendering.model_validate(choice)


@pytest.mark.parametrize(
    "choice", [Selection(tiles=("*_T33UUP",), max_patches=5), Rendering(stretch="minmax")]
)
def test_choices_survive_the_form_that_prefect_stores_them_in(choice: Selection | Rendering) -> None:
    assert type(choice).model_validate(json.loads(choice.model_dump_json())) == choice


def test_a_choice_cannot_be_changed_afterwards() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Rendering().reflectance_max = 1
