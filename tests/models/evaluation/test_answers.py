import functools
import json
import math
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from models.evaluation import answers
from models.evaluation.answers import Answer, AnswerError, ask_photos, is_address, read_answers
from models.spec.crop import Box
from models.spec.skeleton import JOINTS

KNEE = {"name": "left_knee", "x": 12.5, "y": 30.0, "confidence": 0.75}


def person(**changes: Any) -> dict[str, Any]:
    return {"score": 0.9, "box": [1.0, 2.0, 30.0, 40.0], "joints": [KNEE], **changes}


def write(path: Path, *documents: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(document) + "\n" for document in documents))
    return path


def serve(monkeypatch: pytest.MonkeyPatch, answer: Any) -> None:
    monkeypatch.setattr(httpx, "Client", functools.partial(httpx.Client, transport=httpx.MockTransport(answer)))


def test_joints_are_read_by_name_and_those_left_out_are_infinitely_far_away() -> None:
    answer = Answer.read({"people": [person(), person(score=None, joints=[])]})
    assert answer.boxes.tolist() == [[1.0, 2.0, 30.0, 40.0]] * 2
    assert answer.scores[0] == 0.9
    assert math.isnan(answer.scores[1])
    knee = JOINTS.index("left_knee")
    assert answer.joints[0, knee].tolist() == [12.5, 30.0]
    assert answer.confidence[0, knee] == 0.75
    others = np.arange(16) != knee
    assert np.isinf(answer.joints[0, others]).all()
    assert np.isinf(answer.joints[1]).all()
    assert not answer.confidence[0, others].any()


def test_nobody_is_an_answer() -> None:
    answer = Answer.read({"people": []})
    assert answer.boxes.shape == (0, 4)
    assert answer.joints.shape == (0, 16, 2)
    assert answer.scores.shape == (0,)


@pytest.mark.parametrize(
    ("document", "complaint"),
    [
        ({}, "'people' is missing"),
        ({"people": [{"box": [0, 0, 1, 1], "joints": []}]}, "'score' is missing"),
        ({"people": [person(box=[1, 2, 3])]}, "4"),
        ({"people": [person(joints=[{**KNEE, "name": "nose"}])]}, r"joints are right_ankle, .*, not nose"),
        ({"people": [person(joints=[{"name": "left_knee", "x": 1}])]}, "'y' is missing"),
    ],
)
def test_what_is_no_answer_is_refused(document: dict[str, Any], complaint: str) -> None:
    with pytest.raises(AnswerError, match=complaint):
        Answer.read(document)


def test_a_file_has_each_photo_in_any_order(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", {"photo": "two", "people": [person()]}, {"photo": "one", "people": []})
    one, two = read_answers(path, ["one", "two"])
    assert (len(one.scores), len(two.scores)) == (0, 1)


@pytest.mark.parametrize(
    ("documents", "complaint"),
    [
        ([{"photo": "one", "people": []}], "has no line for 1 of 2 photos, such as two"),
        ([{"photo": "one", "people": []}] * 2, "line 2: the photo one has a line before"),
        ([{"photo": "one", "people": []}, {"people": []}], "line 2: 'photo' is missing"),
        ([{"photo": "one", "people": [{}]}], "line 1: people have a score, a box and joints: 'joints' is missing"),
    ],
)
def test_a_file_that_says_too_little_or_too_much_is_refused(
    documents: list[dict[str, Any]], complaint: str, tmp_path: Path
) -> None:
    with pytest.raises(AnswerError, match=complaint):
        read_answers(write(tmp_path / "a.jsonl", *documents), ["one", "two"])


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AnswerError, match=r"a\.jsonl cannot be read"):
        read_answers(tmp_path / "a.jsonl", [])


def test_photos_go_to_a_service_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    requests: dict[bytes, dict[str, str]] = {}

    def answer(request: httpx.Request) -> httpx.Response:
        requests[request.content] = dict(request.url.params)
        return httpx.Response(200, json={"people": [person(score=float(request.content))]})

    serve(monkeypatch, answer)
    found = ask_photos("http://127.0.0.1:1?flip=true", [b"0.25", b"0.5"])
    assert [each.scores.tolist() for each in found] == [[0.25], [0.5]]
    assert requests == {b"0.25": {"flip": "true"}, b"0.5": {"flip": "true"}}
    ask_photos("http://127.0.0.1:1", [b"1"], [Box(1.0, 2.5, 3.0, 4.0)])
    assert requests[b"1"] == {"boxes": "1.0,2.5,3.0,4.0"}


def test_a_busy_service_is_asked_again_when_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    busy = [httpx.Response(429, headers={"retry-after": "3"})]
    monkeypatch.setattr(answers.time, "sleep", waits.append)
    serve(monkeypatch, lambda _: busy.pop() if busy else httpx.Response(200, json={"people": []}))
    assert len(ask_photos("http://127.0.0.1:1", [b"photo"])) == 1
    assert waits == [3.0]


def test_a_refusal_and_silence_are_sentences(monkeypatch: pytest.MonkeyPatch) -> None:
    serve(monkeypatch, lambda _: httpx.Response(415, text="not an image"))
    with pytest.raises(AnswerError, match=r"http://\S+ refuses a photo with status 415: not an image"):
        ask_photos("http://127.0.0.1:1", [b""])

    def silent(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("nobody listens")

    serve(monkeypatch, silent)
    with pytest.raises(AnswerError, match=r"http://\S+ gives no answer: nobody listens"):
        ask_photos("http://127.0.0.1:1", [b""])


def test_only_web_addresses_are_services() -> None:
    assert is_address("https://pose.example")
    assert not is_address("runs/next/checkpoint.pt")
