import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.spec.crop import Box
from service.errors import BadOption
from service.poses.options import LARGEST_BOX_PX, Options, parse_options

corners = st.floats(-LARGEST_BOX_PX / 2, LARGEST_BOX_PX / 2).filter(lambda x: abs(x) >= 1e-10 or x == 0)
lengths = st.floats(1.5, LARGEST_BOX_PX / 2)
rows = st.lists(st.tuples(corners, corners, lengths, lengths), min_size=1, max_size=8)


@given(rows)
def test_all_three_spellings_of_boxes_are_the_same(numbers: list[tuple[float, ...]]) -> None:
    wanted = Options(boxes=tuple(Box(*row) for row in numbers))
    lists = [list(row) for row in numbers]
    query = ";".join(",".join(map(repr, row)) for row in numbers)
    for value in (lists, json.dumps(lists), query):
        assert parse_options([("boxes", value)], 64) == wanted


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=12,
)


@given(st.sampled_from(["boxes", "heatmaps"]), json_values)
def test_any_value_is_read_or_refused(name: str, value: Any) -> None:
    try:
        options = parse_options([(name, value)], 64)
    except BadOption as refusal:
        assert refusal.status == 422
    else:
        assert all(math.isfinite(box.x) and 0 < box.width <= LARGEST_BOX_PX for box in options.boxes)


@pytest.mark.parametrize(
    ("given_options", "sentence"),
    [
        ([("mode", "true")], "the option 'mode' is unknown; the options are boxes, find, heatmaps, flip, refine"),
        ([("boxes", "0,0,1,1"), ("boxes", [[0, 0, 1, 1]])], "the option boxes is given twice"),
        ([("heatmaps", "yes")], "the option heatmaps is 'yes'; it must be true or false"),
        ([("heatmaps", 2)], "the option heatmaps is 2; it must be true or false"),
        ([("boxes", "0,0,1,1;0.2,.3,.5,.5")], "they must be in photo pixels, not in fractions of the photo"),
        ([("boxes", [[2e9, 0, 1, 1]])], "box 0 has x 2e+09; the limit is 1e+09 photo pixels"),
        ([("boxes", "")], "the option boxes is empty"),
        ([("boxes", [])], "the option boxes is empty"),
        ([("boxes", {"x": 1})], "it must be a list"),
        ([("boxes", "[[0, 0, 1")], "which is not JSON"),
        ([("boxes", "0,0,1,1;0,0,1")], "box 1 is ['0', '0', '1']; it must be four numbers"),
        ([("boxes", "0,0,1,1;0,0,0,1")], "box 1 has width 0; it must be greater than 0"),
        ([("boxes", [[0, 0, 1, -2]])], "box 0 has height -2; it must be greater than 0"),
        ([("boxes", [[math.nan, 0, 1, 1]])], "box 0 has x nan; it must be a finite number"),
        ([("boxes", "0,inf,1,1")], "box 0 has y 'inf'; it must be a finite number"),
        ([("boxes", "0,1_0,1,1")], "box 0 has y '1_0'; it must be a finite number"),
        ([("boxes", [[0, True, 1, 1]])], "box 0 has y True; it must be a finite number"),
        ([("boxes", [[0, 0, 10**5000, 1]])], "box 0 has width"),
        ([("boxes", [[0, 0, 1e300, 1]])], "box 0 has width 1e+300; the limit is 1e+09 photo pixels"),
        ([("boxes", [[0, 0, 1, 1]] * 1000)], "the request has 1000 boxes; the limit is 64"),
    ],
)
def test_a_refusal_names_the_option_the_value_and_the_limit(
    given_options: list[tuple[str, Any]], sentence: str
) -> None:
    with pytest.raises(BadOption) as refusal:
        parse_options(given_options, 64)
    assert sentence in refusal.value.detail
    assert len(refusal.value.detail) < 200


def test_people_are_looked_for_where_there_are_no_boxes_unless_it_is_said() -> None:
    assert parse_options([], 64).finds
    assert parse_options([("find", "one")], 64).finds
    assert not parse_options([("find", "none")], 64).finds
    assert not parse_options([("boxes", "0,0,9,9"), ("find", "all")], 64).finds


@pytest.mark.parametrize("value", ["two", "", True, 1, ["all"], {}])
def test_whom_to_find_is_one_of_three_words(value: Any) -> None:
    with pytest.raises(BadOption, match=r"the option find is .*; it must be all, one, none"):
        parse_options([("find", value)], 64)


@pytest.mark.parametrize("value", [True, "true", "True", "1", 1])
def test_flags_are_read_as_clients_write_them(value: Any) -> None:
    assert parse_options([("flip", value)], 64).flip


def test_numbers_are_read_as_text_too() -> None:
    expected = Options(boxes=(Box(0, 1e-5, 9, 9.5),))
    assert parse_options([("boxes", [["0", "1e-05", " 9 ", "9.5"]])], 64) == expected


def test_images_count_every_pass() -> None:
    boxes = "0,0,1,1;1,1,2,2"
    assert parse_options([("boxes", boxes)], 64).images == 2
    assert parse_options([("boxes", boxes), ("flip", "true")], 64).images == 4
    assert parse_options([("boxes", boxes), ("flip", "true"), ("refine", "true")], 64).images == 8
    assert parse_options([], 64).images == 1
    assert parse_options([("flip", 1), ("refine", 1)], 64).images_per_person == 4


def test_texts_of_hostile_length_are_refused_unread() -> None:
    for hostile in ([("boxes", "1;" * 2**24)], [("boxes", "[" + "[]," * 2**22 + "[]]")], [("flip", "x" * 2**24)]):
        with pytest.raises(BadOption, match="the limit is 65,536"):
            parse_options(hostile, 64)


def test_an_unknown_option_is_refused_even_as_null() -> None:
    with pytest.raises(BadOption, match="mode"):
        parse_options([("mode", None)], 64)
    assert parse_options([("boxes", None), ("flip", None)], 64) == parse_options([], 64)
    assert parse_options([("flip", "true"), ("flip", None)], 64).flip


def test_as_many_boxes_and_as_long_a_text_as_are_allowed_are_read() -> None:
    assert len(parse_options([("boxes", [[0, 0, 5, 5]] * 64)], 64).boxes) == 64
    assert parse_options([("boxes", "0,0,5,5".ljust(64 * 1024))], 64).boxes == (Box(0, 0, 5, 5),)
    with pytest.raises(BadOption):
        parse_options([("boxes", "0,0,5,5".ljust(64 * 1024 + 1))], 64)


def test_boxes_are_fractions_only_where_all_their_corners_are() -> None:
    for row in ([0.2, 0, 0.5, 30], [0, 0.2, 30, 0.5]):
        assert parse_options([("boxes", [row])], 64).boxes == (Box(*row),)


def test_a_corner_may_lie_as_far_on_either_side() -> None:
    with pytest.raises(BadOption, match=r"box 0 has x -2e\+09; the limit is 1e\+09"):
        parse_options([("boxes", [[-2e9, 0, 5, 5]])], 64)
