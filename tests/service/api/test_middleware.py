import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from starlette.background import BackgroundTask
from starlette.responses import JSONResponse, StreamingResponse
from starlette.types import Receive, Scope, Send

from tests.support.client import Client


async def ask(client: Client, path: str, root_path: str = "") -> list[dict[str, Any]]:
    """What the application sends, if need be no whole answer."""
    sent: list[dict[str, Any]] = []
    scope = {"type": "http", "method": "GET", "path": path, "query_string": b"", "headers": [], "state": {}}
    scope["root_path"] = root_path

    async def receive() -> dict[str, Any]:
        return await asyncio.get_running_loop().create_future()  # type: ignore[no-any-return]

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await client.app(scope, receive, send)  # type: ignore[arg-type]
    return sent


def test_a_failure_after_the_answer_began_is_counted_and_logged(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    async def half() -> Any:
        yield b"half"
        raise RuntimeError("lost")

    client.app.add_route("/half", lambda _: StreamingResponse(half()))
    with caplog.at_level("INFO"):
        sent = client.portal.call(ask, client, "/half")
    assert sent[-1] == {"type": "http.response.body", "body": b"half", "more_body": True}
    assert client.metric("pose_requests_total", route="other", code="500") == 1
    assert client.metric("pose_rejected_total", reason="internal") == 1
    assert client.metric("pose_in_flight_requests") == 0
    failed, access = caplog.records
    assert failed.exc_info is not None
    assert access.getMessage().startswith("GET /half 500 ")
    assert access.getMessage().endswith(" reason=internal")


def test_a_failure_after_a_whole_answer_is_logged_once(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    async def fail() -> None:
        raise RuntimeError("too late")

    client.app.add_route("/late", lambda _: JSONResponse({}, background=BackgroundTask(fail)))
    with caplog.at_level("INFO"):
        assert client.get("/late").status_code == 200
    assert client.metric("pose_requests_total", route="other", code="200") == 1
    assert len([each for each in caplog.records if each.exc_info]) == 1


def test_what_the_server_cuts_off_is_counted(client: Client) -> None:
    class Cut(JSONResponse):
        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            raise asyncio.CancelledError

    async def ask_and_be_cut_off() -> None:
        with pytest.raises(asyncio.CancelledError):
            await ask(client, "/cut")

    client.app.add_route("/cut", lambda _: Cut({}))
    client.portal.call(ask_and_be_cut_off)
    assert client.metric("pose_requests_total", route="other", code="200") == 1


@pytest.mark.parametrize("path", ["/metricsfoo", "/healthz", "/healthzfoo", "/healthz/live/x"])
def test_only_probes_and_scrapes_are_no_requests_in_flight(
    path: str, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[float] = []

    @client.app.get(path)
    async def handler() -> None:
        seen.append(client.metric("pose_in_flight_requests"))

    with caplog.at_level("INFO", "service.access"):
        client.get(path)
    assert seen == [1]
    assert caplog.messages[0].startswith(f"GET {path} 200 ")


def test_probes_and_scrapes_are_not_in_flight(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "service.access"):
        text = client.get("/metrics").text
        client.get("/healthz/ready")
    assert "\npose_in_flight_requests 0.0\n" in text
    assert not caplog.messages


@pytest.mark.parametrize(
    ("ask_for", "reason"),
    [
        (lambda client: client.post(content=b"text"), "not_an_image"),
        (lambda client: client.get("/nowhere"), "not_found"),
        (lambda client: client.post("/pose?flip=x", content=b"x"), "bad_option"),
    ],
)
def test_the_access_log_says_why_a_request_is_refused(
    ask_for: Callable[[Client], object], reason: str, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", "service.access"):
        ask_for(client)
        client.get("/report")
    refused, answered = caplog.messages
    assert refused.endswith(f" reason={reason}")
    assert "reason" not in answered


def test_behind_a_prefix_a_scrape_is_not_in_flight_either(client: Client) -> None:
    sent = client.portal.call(ask, client, "/pose-api/metrics", "/pose-api")
    assert b"\npose_in_flight_requests 0.0\n" in sent[1]["body"]


def test_every_request_is_timed_by_its_route(client: Client) -> None:
    client.get("/healthz/live")
    client.get("/nowhere")
    for route in ("/healthz/live", "other"):
        assert client.metric("pose_request_seconds_count", route=route) == 1


def test_beyond_the_limit_of_connections_requests_are_refused_and_probes_answered(client: Client) -> None:
    client.app.state.lifecycle.has_room = lambda: False
    answer = client.post(content=b"x")
    assert (answer.status_code, answer.json()["reason"]) == (429, "overloaded")
    assert client.metric("pose_rejected_total", reason="overloaded") == 1
    for path in ("/healthz/live", "/healthz/ready", "/metrics"):
        assert client.get(path).status_code == 200


def test_what_the_server_cuts_off_before_its_answer_is_refused(client: Client) -> None:
    class Cut(JSONResponse):
        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            raise asyncio.CancelledError

    client.app.add_route("/cut", lambda _: Cut({}))
    start, body = client.portal.call(ask, client, "/cut")
    assert start["status"] == 503
    assert b"the service is stopping" in body["body"]
