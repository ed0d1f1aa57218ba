import json
from typing import Any, get_args

import pytest
from pydantic import ValidationError

from bigearthnet.options import SPLITS, CountryName, Rendering, Selection, explain


def test_forms_show_titles_limits_and_choices() -> None:
    for model in (Selection, Rendering):
        for name, field in model.model_json_schema()["properties"].items():
            assert field["title"], name
            assert field["description"], name
    properties = Selection.model_json_schema()["properties"]
    assert properties["splits"]["items"]["enum"] == list(SPLITS)
    assert properties["countries"]["items"]["enum"] == list(get_args(CountryName))
    assert properties["max_patches"]["minimum"] == 0


@pytest.mark.parametrize(
    ("model", "choice", "message"),
    [
        (Selection, {"splits": ["val"]}, "splits: there is no 'val'. Did you mean validation?"),
        (Selection, {"splits": ["TRAINING"]}, "splits: there is no 'TRAINING'. Did you mean train?"),
        (Selection, {"splits": [""]}, "splits: there is no ''. Choose from train, validation, test."),
        (Selection, {"countries": ["swiss"]}, "countries: there is no 'swiss'. Did you mean Switzerland?"),
        (Selection, {"countries": ["Germany"]}, "countries: there is no 'Germany'. Choose from Austria, Bel"),
        (Selection, {"snow_cloud_shadow": "only"}, "snow_cloud_shadow: Input should be 'include' or 'excl"),
        (Selection, {"max_patches": -5}, "max_patches: the number of patches cannot be negative (-5)."),
        (
            Selection,
            {"max_patches": "-5"},
            "max_patches: the number of patches cannot be negative (-5). Use ",
        ),
        (Selection, {"patches": 3}, "patches: Extra inputs are not permitted"),
        (Selection, {"splits": ["s"], "patches": 3}, "splits: there is no 's'. Choose from train, vali"),
        (Rendering, {"stretch": "gamma"}, "stretch: Input should be 'reflectance', 'percentile' or 'minmax'"),
        (Rendering, {"reflectance_max": 0}, "reflectance_max: Input should be greater than or equal to 1"),
        (Rendering, {"reflectance_max": 65536}, "reflectance_max: Input should be less than or equal to 65"),
        (Rendering, {"percentiles": [98, 2]}, "percentiles: the first must be below the second"),
        (Rendering, {"percentiles": [2, 2]}, "percentiles: the first must be below the second"),
        (Rendering, {"percentiles": [-1, 98]}, "percentiles: Input should be greater than or equal to 0"),
        (Rendering, {"percentiles": [2, 100.5]}, "percentiles: Input should be less than or equal to 100"),
        (Rendering, {"percentiles": [float("nan"), 98]}, "percentiles: Input should be"),
        (Rendering, {"mask_classes": "clc_l2"}, "mask_classes: Input should be 'clc', 'clc_l3', 'clc_l1'"),
        (Rendering, {"png_compression": 10}, "png_compression: Input should be less than or equal to 9"),
        (Rendering, {"png_compression": -1}, "png_compression: Input should be greater than or equal to 0"),
    ],
)
def test_invalid_options_are_explained(
    model: type[Selection | Rendering], choice: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        model.model_validate(choice)
    assert explain(caught.value).startswith(message)
    assert len(explain(caught.value).splitlines()) == len(choice)


@pytest.mark.parametrize(
    "choice", [Selection(tiles=("*_T33UUP",), splits=("test",), max_patches=5), Rendering(stretch="minmax")]
)
def test_options_survive_json_and_cannot_be_changed(choice: Selection | Rendering) -> None:
    assert type(choice).model_validate(json.loads(choice.model_dump_json())) == choice
    with pytest.raises(ValidationError, match="frozen"):
        setattr(choice, next(iter(type(choice).model_fields)), None)
