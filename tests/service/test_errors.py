from starlette.exceptions import HTTPException

from service import errors as problems


def every_problem(root: type[problems.ServiceError] = problems.ServiceError) -> list[type[problems.ServiceError]]:
    return [root, *(kind for child in root.__subclasses__() for kind in every_problem(child))]


def test_reasons_are_unique_and_statuses_are_errors() -> None:
    kinds = every_problem()
    assert len({kind.reason for kind in kinds}) == len(kinds)
    assert all(400 <= kind.status < 600 for kind in kinds)


def test_the_module_draws_the_tree_as_it_is() -> None:
    drawn = {line.split()[-3]: line.split()[-2:] for line in str(problems.__doc__).splitlines() if "──" in line}
    found = {kind.__name__: [str(kind.status), kind.reason] for kind in every_problem()[1:]}
    assert drawn == found


def test_a_problem_document_has_all_members() -> None:
    problem, headers = problems.describe(problems.Overloaded("too much", retry_after_seconds=2.1), "abc")
    assert problem == {
        "type": "urn:dsnt-pose:problem:overloaded",
        "title": "Overloaded",
        "status": 429,
        "detail": "too much",
        "instance": "urn:dsnt-pose:request:abc",
        "reason": "overloaded",
    }
    assert headers == {"Retry-After": "3"}


def test_an_unexpected_error_tells_nothing_of_the_inside() -> None:
    problem, _ = problems.describe(RuntimeError("secret path"), "abc")
    assert problem["status"] == 500
    assert "secret" not in str(problem)


def test_the_frameworks_own_refusals_become_ours() -> None:
    missing = problems.translate(HTTPException(404), "GET", "/nowhere")
    wrong = problems.translate(HTTPException(405, headers={"Allow": "POST"}), "GET", "/pose")
    assert problems.describe(missing, "x")[0]["detail"].startswith("there is nothing at /nowhere")
    assert problems.describe(wrong, "x")[1] == {"Allow": "POST"}
    teapot, _ = problems.describe(problems.translate(HTTPException(418), "GET", "/"), "x")
    assert teapot["status"] == 418
