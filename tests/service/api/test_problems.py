import json

import pytest
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from service.api.problems import Problem, describe, translate
from service.errors import BadOption, EncodedBody, MethodNotAllowed, Overloaded


def test_a_problem_document_has_all_members() -> None:
    response = describe(Overloaded("too much", retry_after_seconds=2.1), "abc")
    assert json.loads(response.body) == {
        "type": "urn:dsnt-pose:problem:overloaded",
        "title": "Overloaded",
        "status": 429,
        "detail": "too much",
        "instance": "urn:dsnt-pose:request:abc",
        "reason": "overloaded",
    }
    assert (response.status_code, response.media_type) == (429, "application/problem+json")
    assert response.headers["retry-after"] == "3"
    assert Problem.model_validate_json(response.body)


def test_an_unexpected_error_shows_nothing_of_the_inside() -> None:
    error = translate(RuntimeError("secret path"), "POST", "/pose")
    assert (error.status, error.reason) == (500, "internal")
    assert "secret" not in error.detail


def test_too_little_memory_is_not_the_clients_fault_and_may_pass() -> None:
    error = translate(MemoryError(), "POST", "/pose")
    assert (error.status, error.reason) == (503, "out_of_memory")


@pytest.mark.parametrize(
    ("error", "status", "detail"),
    [
        (HTTPException(404), 404, "there is nothing at /nowhere"),
        (HTTPException(405, headers={"Allow": "POST"}), 405, "GET is not a method of /nowhere; it has POST"),
        (HTTPException(418), 400, "I'm a Teapot"),
        (RequestValidationError([{"loc": ("query", "n"), "msg": "too large", "type": "x"}]), 422, "query.n is wrong"),
    ],
)
def test_the_frameworks_own_refusals_become_ours(error: Exception, status: int, detail: str) -> None:
    translated = translate(error, "GET", "/nowhere")
    assert translated.status == status
    assert detail in translated.detail


def test_allowed_methods_are_said() -> None:
    assert describe(MethodNotAllowed("no", "POST"), "x").headers["allow"] == "POST"
    assert "allow" not in describe(BadOption("no"), "x").headers


def test_a_client_is_to_wait_for_a_second_at_least() -> None:
    assert describe(Overloaded("no", retry_after_seconds=0), "x").headers["retry-after"] == "1"


def test_the_encoding_that_is_read_is_said() -> None:
    assert describe(EncodedBody("no"), "x").headers["accept-encoding"] == "identity"


def test_a_long_path_is_cut_short() -> None:
    assert len(translate(HTTPException(404), "GET", "/" + "a" * 10_000).detail) < 300
