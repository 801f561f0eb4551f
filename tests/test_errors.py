"""An error says once what happened, and carries where."""

import pickle

import pytest

from chanest import errors, load_scenario
from chanest.cli.options import naming_options
from chanest.errors import ChanestError, ObservationError, ScenarioError


@pytest.mark.parametrize(
    ("places", "text"),
    [
        ({}, "NaN"),
        ({"field": "y"}, "y: NaN"),
        ({"field": "y", "index": (3, 0)}, "y[3, 0]: NaN"),
        ({"path": "a.h5", "field": "y"}, "a.h5: y: NaN"),
    ],
)
def test_the_text_is_made_of_the_places(places, text):
    error = ObservationError("NaN", **places)
    assert str(error) == text
    assert str(ObservationError("NaN").at(**places)) == text
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), copy.field, copy.index) == (ObservationError, text, error.field, error.index)


def test_every_error_is_public_and_a_chanest_error():
    for name in errors.__all__:
        assert issubclass(getattr(errors, name), ChanestError)


def test_a_field_is_told_by_its_option_and_nothing_else_is_touched():
    with (
        pytest.raises(ScenarioError, match=r"^--pilots: expected 2...600") as caught,
        naming_options({"n_pilots": "--pilots"}),
    ):
        load_scenario("lte10").replace(n_pilots=601)
    assert caught.value.field == "--pilots"
    with pytest.raises(ScenarioError, match=r"^scenario lte10: n_pilots: "), naming_options({"pilots": "--pilots"}):
        load_scenario("lte10").replace(n_pilots=601)


def test_fields_inside_a_scenario_are_named_whole():
    with pytest.raises(ScenarioError) as caught:
        load_scenario("wide").replace(channel={**load_scenario("wide").channel.model_dump(), "n_paths": (4, 2)})
    assert caught.value.field == "channel.n_paths"
