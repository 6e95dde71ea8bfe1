"""What the route of a photo records, and where its options may be given."""

from typing import Any

import pytest

from service.metrics import STAGES
from tests.support.client import Client


def test_each_stage_of_an_answer_is_observed_once(client: Client, astronaut: bytes) -> None:
    assert client.post("/pose?boxes=60,10,300,500", content=astronaut).status_code == 200
    assert {stage: client.metric("pose_stage_seconds_count", stage=stage) for stage in STAGES} == dict.fromkeys(
        STAGES, 1
    )
    assert client.metric("pose_stage_seconds_count", stage="total") == 0


def test_of_a_photo_that_nobody_could_answer_nothing_is_read(client: Client) -> None:
    async def ask() -> int:
        async def receive() -> dict[str, Any]:
            pytest.fail("the body is read")

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        sent: list[dict[str, Any]] = []
        scope = {"type": "http", "method": "POST", "path": "/pose", "query_string": b"", "headers": [], "state": {}}
        await client.app(scope, receive, send)  # type: ignore[arg-type]
        return int(sent[0]["status"])

    admission = client.app.state.lifecycle.estimator.admission
    with admission.admit(int(admission.limit_images) + 1):
        assert client.portal.call(ask) == 429


def test_each_person_is_counted(client: Client, astronaut: bytes) -> None:
    client.post("/pose?boxes=60,10,300,500;0,0,50,50", content=astronaut)
    assert client.metric("pose_people_total") == 2


def test_photo_people_and_joints_are_recorded(client: Client, astronaut: bytes) -> None:
    person = client.post("/pose?boxes=60,10,300,500", content=astronaut).json()["people"][0]
    assert client.metric("pose_image_bytes_sum") == len(astronaut)
    assert client.metric("pose_image_pixels_sum") == 512 * 512
    assert client.metric("pose_people_total") == 1
    majors = sum(joint["std"]["major"] for joint in person["joints"])
    assert client.metric("pose_joint_std_pixels_sum") == pytest.approx(majors, rel=1e-5)


def test_an_option_in_the_query_and_in_the_body_is_refused_and_neither_counts(client: Client, astronaut: bytes) -> None:
    answer = client.post("/pose?flip=false", files={"image": astronaut}, data={"flip": "true"})
    assert (answer.status_code, answer.json()["reason"]) == (422, "bad_option")
    assert "flip is given twice" in answer.json()["detail"]


def test_probes_are_not_in_flight_and_photos_are(client: Client) -> None:
    for path in ("/healthz/live", "/healthz/ready", "/metrics"):
        assert "pose_in_flight_requests 0.0" in client.get("/metrics").text, path
        client.get(path)
