"""What the published schema allows is what the service takes, both ways."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from service.api.openapi import json_schema
from service.errors import BadOption
from service.poses.options import parse_options
from tests.support.client import Client

VALIDATOR = Draft202012Validator(json_schema())

numbers = st.one_of(
    st.integers(-5, 2000),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(["10", "-2.5", "1e-05", "1e5", "0", "0.0", " 7 ", "", "x", "1_0", "9" * 12]),
    st.booleans(),
    st.none(),
)
lists = st.lists(st.lists(numbers, min_size=3, max_size=5), max_size=3)
flags = st.sampled_from([True, False, "true", "True", "1", "0", 1, 0, 2, "yes", "", None, [], 1.5])


def is_taken(body: dict[str, Any]) -> bool:
    try:
        parse_options([(name, value) for name, value in body.items() if name != "image"], 64)
    except BadOption as refusal:
        return "fractions" in refusal.detail  # which no schema can say
    return True


@given(st.fixed_dictionaries({}, optional={"boxes": lists, "heatmaps": flags, "flip": flags, "refine": flags}))
def test_the_schema_allows_what_the_service_takes(options: dict[str, Any]) -> None:
    body = {"image": "AAAA", **options}
    assert VALIDATOR.is_valid(body) == is_taken(body), body


@pytest.mark.parametrize(
    "options",
    [{}, {"boxes": [[60, 10, 300, 500]]}, {"boxes": [["60", "1e-05", "300", "5"]]}, {"flip": "True"}, {"refine": None}],
)
def test_bodies_as_clients_write_them_are_valid(options: dict[str, Any]) -> None:
    body = {"image": "AAAA", **options}
    VALIDATOR.validate(body)
    assert is_taken(body)


@pytest.mark.parametrize("options", [{"mode": 1}, {"boxes": []}, {"boxes": [[1, 2, 3, 0]]}, {"boxes": [[1, 2, 3]]}])
def test_bodies_that_are_refused_are_invalid(options: dict[str, Any]) -> None:
    body = {"image": "AAAA", **options}
    assert not VALIDATOR.is_valid(body)
    assert not is_taken(body)


def test_every_refusal_is_the_one_component(client: Client) -> None:
    document = client.get("/openapi.json").json()
    assert {"detail", "reason", "status"} <= document["components"]["schemas"]["Problem"]["properties"].keys()
    for path in document["paths"].values():
        for operation in path.values():
            for status, response in operation["responses"].items():
                if status >= "400":
                    (content,) = response["content"].values()
                    assert content["schema"] == {"$ref": "#/components/schemas/Problem"}


def test_a_problem_is_its_component(client: Client) -> None:
    component = client.get("/openapi.json").json()["components"]["schemas"]["Problem"]
    answer = client.post(content=b"some text")
    Draft202012Validator(component).validate(json.loads(answer.content))
