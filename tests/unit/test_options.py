from typing import Any

import pytest
from pydantic import ValidationError

from bigearthnet.options import Rendering, Selection, SubsetSelection, explain


def test_forms_show_titles_and_descriptions() -> None:
    for model in (Selection, SubsetSelection, Rendering):
        for name, field in model.model_json_schema()["properties"].items():
            assert field["title"], name
            assert field["description"], name


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
        (Selection, {"max_patches": "-5"}, "max_patches: the number of patches cannot be negative (-5). U"),
        (Selection, {"patches": 3}, "patches: Extra inputs are not permitted"),
        (Selection, {"splits": ["x"], "patches": 3}, "splits: there is no 'x'. Choose from train, vali"),
        (Rendering, {"stretch": "gamma"}, "stretch: Input should be 'reflectance', 'percentile' or 'minmax'"),
        (Rendering, {"reflectance_max": 0}, "reflectance_max: Input should be greater than or equal to 1"),
        (Rendering, {"percentiles": [98, 2]}, "percentiles: the first must be below the second"),
        (Rendering, {"percentiles": [2, 2]}, "percentiles: the first must be below the second"),
        (Rendering, {"percentiles": [-1, 98]}, "percentiles: Input should be greater than or equal to 0"),
        (Rendering, {"percentiles": [2, 100.5]}, "percentiles: Input should be less than or equal to 100"),
        (Rendering, {"percentiles": [float("nan"), 98]}, "percentiles: Input should be"),
    ],
)
def test_invalid_options_are_explained(
    model: type[Selection | Rendering], choice: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        model.model_validate(choice)
    assert explain(caught.value).startswith(message)
    assert len(explain(caught.value).splitlines()) == len(choice)


@pytest.mark.parametrize("choice", [Selection(), Rendering()])
def test_options_cannot_be_changed(choice: Selection | Rendering) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        setattr(choice, next(iter(type(choice).model_fields)), None)
