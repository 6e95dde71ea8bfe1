import base64
import gzip
import json
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pytest
from PIL import Image

from models.spec.crop import Crop, CropRule
from service.api.app import create_app
from service.api.upload import UploadBudget
from service.inference.engine import Networks
from service.photos.crops import KeptPhotos, PhotoSource
from service.poses import options
from service.poses.admission import Admission
from service.poses.people import TIMING
from service.settings import Settings
from tests.support.client import Client, serving
from tests.support.standin import StandIn, compute, wait_until

BOX = [60.0, 10.0, 300.0, 500.0]


def refusal(answer: httpx.Response, status: int, reason: str) -> str:
    """The sentence of a problem document, which must be whole."""
    problem = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.status_code, problem["status"], problem["reason"]) == (status, status, reason)
    assert set(problem) == {"type", "title", "status", "detail", "instance", "reason"}
    assert problem["instance"].endswith(answer.headers["x-request-id"])
    return str(problem["detail"])


def test_the_answer_is_what_the_design_says(client: Client, astronaut: bytes) -> None:
    answer = client.post(f"/pose?boxes={','.join(map(str, BOX))};0,0,50,50&heatmaps=true", content=astronaut)
    document = answer.json()
    assert answer.status_code == 200
    assert list(document) == ["model", "image", "people", "found", "timing"]
    assert document["model"] == {"name": "stand-in", "version": "1", "provider": "cpu", "precision": "fp32"}
    assert document["image"] == {"width": 512, "height": 512}
    first, second = document["people"]
    assert (first["box"], first["whole_image"], second["box"]) == (BOX, False, [0, 0, 50, 50])
    assert (first["score"], document["found"]) == (None, 2)
    assert first["crop"] == {"x": -102.5, "y": -52.5, "side": 625}
    assert [joint["name"] for joint in first["joints"]][0::15] == ["right_ankle", "left_wrist"]
    assert set(first["joints"][0]) == {"name", "x", "y", "confidence", "std"}
    assert list(document["timing"]) == list(TIMING)


def test_heatmaps_are_little_endian_float16_in_c_order(client: Client, astronaut: bytes) -> None:
    heatmaps = client.post("/pose?heatmaps=true&refine=false", content=astronaut).json()["people"][0]["heatmaps"]
    assert (heatmaps["shape"], heatmaps["dtype"]) == ([16, 28, 28], "float16")
    found = np.frombuffer(base64.b64decode(heatmaps["data"]), "<f2").reshape(heatmaps["shape"])
    source = PhotoSource(astronaut, CropRule(), 10**6, KeptPhotos(1e9))
    expected = compute(source.cut([Crop.whole(512, 512)])[0])["heatmaps"][0]
    np.testing.assert_array_equal(found, expected.astype(np.float16))
    assert "heatmaps" not in client.post("/pose", content=astronaut).json()["people"][0]


def test_all_three_bodies_give_the_same_people(client: Client, astronaut: bytes) -> None:
    boxes = json.dumps([BOX])
    answers = [
        client.post("/pose", params={"boxes": ",".join(map(str, BOX))}, content=astronaut),
        client.post(files={"image": astronaut}, data={"boxes": boxes}),
        client.post(json={"image": base64.b64encode(astronaut).decode(), "boxes": [BOX]}),
    ]
    assert [answer.status_code for answer in answers] == [200, 200, 200]
    assert answers[0].json()["people"] == answers[1].json()["people"] == answers[2].json()["people"]


@pytest.mark.parametrize(
    ("query", "status", "reason", "sentence"),
    [
        ("boxes=600,0,5,5", 422, "bad_option", "lies outside the photo of 512 x 512 pixels"),
        ("boxes=-50,0,5,5", 422, "bad_option", "box 0, [-50, 0, 5, 5], lies outside"),
        ("boxes=0,0,-5,5", 422, "bad_option", "box 0 has width -5"),
        ("boxes=" + ";".join(["0,0,5,5"] * 1000), 422, "bad_option", "has 1000 boxes; the limit is 64"),
        ("format=png", 422, "bad_option", "the option 'format' is unknown"),
        ("flip=maybe", 422, "bad_option", "flip is 'maybe'"),
        ("heatmaps=2", 422, "bad_option", "must be true or false"),
    ],
)
def test_a_bad_option_is_refused_and_the_next_request_served(
    query: str, status: int, reason: str, sentence: str, client: Client, astronaut: bytes
) -> None:
    assert sentence in refusal(client.post(f"/pose?{query}", content=astronaut), status, reason)
    assert client.metric("pose_rejected_total", reason=reason) == 1
    assert client.post(content=astronaut).status_code == 200


def test_a_bad_photo_is_refused_and_the_next_request_served(
    client: Client, astronaut: bytes, encode: Callable[..., bytes]
) -> None:
    assert "truncated" in refusal(client.post(content=astronaut[:5000]), 400, "malformed")
    assert "empty" in refusal(client.post(), 400, "malformed")
    assert "not a photo" in refusal(client.post(content=b"some text"), 415, "not_an_image")
    assert "not read" in refusal(
        client.post(content=astronaut, headers={"content-type": "text/plain"}), 415, "not_an_image"
    )
    assert "the limit is 1,048,576" in refusal(client.post(content=bytes(2**20 + 1)), 413, "too_large")
    huge = encode(Image.new("1", (20_000, 20_000)))
    assert "the limit is 67,108,864" in refusal(client.post(content=huge), 413, "too_large")
    assert client.post(content=astronaut).status_code == 200


@pytest.mark.parametrize("size", [(1, 1), (10_000, 1), (64, 64)])
def test_odd_photos_are_answered(size: tuple[int, int], client: Client, encode: Callable[..., bytes]) -> None:
    people = client.post(content=encode(Image.new("RGB", size))).json()["people"]
    assert all(np.isfinite([joint["x"], joint["y"]]).all() for joint in people[0]["joints"])


def test_unknown_paths_and_methods_are_problems(client: Client) -> None:
    assert "nothing at /nowhere" in refusal(client.get("/nowhere"), 404, "not_found")
    wrong = client.get("/pose")
    assert "it has POST" in refusal(wrong, 405, "method_not_allowed")
    assert wrong.headers["allow"] == "POST"
    assert client.metric("pose_requests_total", route="other", code="404") == 1


def test_an_unexpected_error_is_a_500_that_tells_nothing(
    client: Client, astronaut: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr(client.app.state.lifecycle.estimator, "estimate", fail)
    assert "secret" not in refusal(client.post(content=astronaut), 500, "internal")
    assert client.metric("pose_requests_total", route="/pose", code="500") == 1


def test_a_request_keeps_its_own_id_when_it_is_harmless(client: Client) -> None:
    own = client.request("GET", "/healthz/live", headers={"X-Request-ID": "abc-1"})
    evil = client.request("GET", "/healthz/live", headers={"X-Request-ID": "a b"})
    assert own.headers["x-request-id"] == "abc-1"
    assert re.fullmatch("[0-9a-f]{32}", evil.headers["x-request-id"])


def test_the_access_log_is_one_line_whatever_the_path(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "service.access"):
        client.get("/a%0Ab")
    (line,) = caplog.messages
    assert line.startswith("GET /a%0Ab 404 ")


def test_server_timing_is_in_milliseconds(client: Client, astronaut: bytes) -> None:
    answer = client.post(content=astronaut)
    stages = dict(re.findall(r"(\w+);dur=([\d.]+)", answer.headers["server-timing"]))
    assert {stage: pytest.approx(float(ms) / 1000, abs=1e-5) for stage, ms in stages.items()} == answer.json()["timing"]


def test_a_client_that_hangs_up_is_counted_and_dropped(client: Client, engine: StandIn, astronaut: bytes) -> None:
    engine.gate.clear()
    before = len(engine.batches)
    client.hang_up(astronaut)
    assert client.metric("pose_rejected_total", reason="client_gone") == 1
    assert client.app.state.lifecycle.estimator.admission.admitted_images == 0
    engine.gate.set()
    assert client.post(content=astronaut, params={"refine": "false"}).status_code == 200
    assert len(engine.batches) <= before + 2


def test_probes_follow_the_engines_thread(client: Client, engine: StandIn, astronaut: bytes) -> None:
    assert (client.get("/healthz/live").status_code, client.get("/healthz/ready").status_code) == (200, 200)
    assert engine.is_warm
    assert client.metric("pose_ready") == 1
    engine.fails_on = lambda _: SystemExit("killed")
    assert "has stopped" in refusal(client.post(content=astronaut), 503, "not_ready")
    wait_until(lambda: not client.app.state.lifecycle.is_alive)
    refusal(client.get("/healthz/live"), 503, "not_ready")
    refusal(client.get("/healthz/ready"), 503, "not_ready")
    assert client.metric("pose_ready") == 0


def test_draining_is_not_ready_but_still_answers(client: Client, astronaut: bytes) -> None:
    client.app.state.lifecycle.drain()
    assert "stopping" in refusal(client.get("/healthz/ready"), 503, "not_ready")
    assert client.get("/healthz/live").status_code == 200
    assert client.post(content=astronaut).status_code == 200


def test_more_than_can_be_answered_in_time_is_refused_with_retry_after(engine: StandIn, astronaut: bytes) -> None:
    with serving(create_app(Settings(deadline_seconds=20), lambda _: Networks(engine))) as client:
        door = client.app.state.lifecycle.estimator.admission
        with door.admit(int(door.limit_images) + 1):
            answer = client.post(content=astronaut)
        assert "the limit is 20 s" in refusal(answer, 429, "overloaded")
        assert int(answer.headers["retry-after"]) >= 1
        assert client.post(content=astronaut).status_code == 200


def test_more_than_could_ever_be_answered_in_time_is_the_clients_fault(client: Client, astronaut: bytes) -> None:
    client.app.state.lifecycle.estimator.admission = Admission(lambda: 1.0, deadline_seconds=3)
    answer = client.post("/pose?boxes=0,0,512,512;0,0,256,256&flip=true", content=astronaut)
    assert "up to 4 images of the network, and 3 are the most" in refusal(answer, 422, "bad_option")
    assert "retry-after" not in answer.headers
    assert client.post("/pose?boxes=0,0,512,512&flip=true", content=astronaut).status_code == 200


def test_more_bytes_than_the_memory_holds_are_refused_while_others_are_under_way(
    client: Client, engine: StandIn, astronaut: bytes
) -> None:
    client.app.state.lifecycle.uploads = UploadBudget(1.5 * len(astronaut))
    engine.batches.clear()
    engine.gate.clear()
    with ThreadPoolExecutor() as pool:
        first = pool.submit(client.post, "/pose?refine=false", content=astronaut)
        wait_until(lambda: engine.batches == [1])
        detail = refusal(client.post("/pose", content=astronaut), 429, "overloaded")
        assert f"the bodies of other requests under way hold {len(astronaut):,} bytes" in detail
        engine.gate.set()
        assert first.result().status_code == 200
    assert client.post("/pose", content=astronaut).status_code == 200


def test_what_is_parsed_counts_with_the_photo_that_is_found_in_it(
    client: Client, engine: StandIn, astronaut: bytes
) -> None:
    body = json.dumps({"image": base64.b64encode(astronaut).decode()}).encode()
    client.app.state.lifecycle.uploads = UploadBudget(2.5 * len(body))
    engine.batches.clear()
    engine.gate.clear()
    with ThreadPoolExecutor() as pool:
        kind = {"content-type": "application/json"}
        first = pool.submit(client.post, "/pose?refine=false", content=body, headers=kind)
        wait_until(lambda: engine.batches == [1])
        detail = refusal(client.post("/pose", content=body, headers=kind), 429, "overloaded")
        assert f"under way hold {2 * len(body):,} bytes" in detail
        engine.gate.set()
        assert first.result().status_code == 200


def test_a_compressed_body_is_refused_unread(client: Client, astronaut: bytes) -> None:
    answer = client.post(content=gzip.compress(astronaut), headers={"Content-Encoding": "gzip"})
    assert "content encoding 'gzip'" in refusal(answer, 415, "encoded_body")
    assert answer.headers["accept-encoding"] == "identity"
    assert client.post(content=astronaut, headers={"Content-Encoding": "identity"}).status_code == 200


def test_what_fastapi_refuses_is_a_problem_and_counted(client: Client) -> None:
    @client.app.get("/sum")
    async def add(first: int, second: int) -> int:
        return first + second

    assert client.get("/sum?first=1&second=2").json() == 3
    assert refusal(client.get("/sum?first=1&second=x"), 422, "bad_option").startswith("query.second is wrong: ")
    assert client.metric("pose_rejected_total", reason="bad_option") == 1
    assert client.metric("pose_requests_total", route="/sum", code="422") == 1


@pytest.mark.parametrize(
    "place",
    [
        "PIL.PngImagePlugin.PngImageFile._open",
        "PIL.PngImagePlugin.PngImageFile.load_prepare",
        "PIL.Image.Image.resize",
        "pydantic_core.from_json",
        "tests.support.standin.compute",
    ],
)
def test_memory_that_is_lacking_is_not_the_clients_fault(
    place: str, client: Client, encode: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise MemoryError

    photo = {"image": base64.b64encode(encode(Image.new("RGB", (64, 64)))).decode()}
    assert client.post(json=photo).status_code == 200
    with monkeypatch.context() as patch:
        patch.setattr(place, fail)
        refusal(client.post(json=photo), 503, "out_of_memory")
    assert client.metric("pose_rejected_total", reason="out_of_memory") == 1
    assert client.post(json=photo).status_code == 200


def test_the_document_tells_of_every_body_option_and_problem(client: Client) -> None:
    operation = client.get("/openapi.json").json()["paths"]["/pose"]["post"]
    assert {"multipart/form-data", "application/json", "image/*"} < set(operation["requestBody"]["content"])
    assert {parameter["name"] for parameter in operation["parameters"]} == set(options.NAMES)
    assert set(operation["responses"]) == {"200", "400", "408", "413", "415", "422", "429", "500", "503"}
    assert list(operation["responses"]["413"]["content"]) == ["application/problem+json"]
    assert client.get("/docs").status_code == 200


def test_metrics_are_exposed(client: Client, astronaut: bytes) -> None:
    client.post(content=astronaut)
    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    for name in ("pose_single_image_inference_seconds_count", "pose_inference_memory_bytes", "process_cpu_seconds"):
        assert name in answer.text
    assert client.metric("pose_requests_total", route="/pose", code="200") == 1
    assert client.metric("pose_model_pckh", dataset="MPII") == 75.5


def test_the_first_photo_leaves_no_trace_in_the_metrics(client: Client) -> None:
    assert client.metric("pose_people_total") == 0
    assert client.metric("pose_queue_limit_images") > 0


def test_probes_may_ask_with_head(client: Client) -> None:
    assert client.request("HEAD", "/healthz/live").status_code == 200
    assert client.request("HEAD", "/healthz/ready").status_code == 200


@pytest.mark.parametrize("path", ["/metrics", "/report", "/docs", "/docs/docs.js", "/openapi.json"])
def test_what_can_be_read_can_be_asked_for_with_head(path: str, client: Client) -> None:
    head = client.request("HEAD", path)
    assert head.status_code == 200
    assert head.headers["content-type"] == client.get(path).headers["content-type"]


def test_a_deadline_shorter_than_the_first_photo_does_not_keep_the_service_from_starting(engine: StandIn) -> None:
    with serving(create_app(Settings(deadline_seconds=1e-3), lambda _: Networks(engine))) as client:
        assert client.get("/healthz/ready").status_code == 200


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_no_number_is_a_failure_that_liveness_sees_and_never_an_answer(
    client: Client, engine: StandIn, astronaut: bytes, value: float
) -> None:
    engine.run = lambda images, wanted, shared=False: {  # type: ignore[method-assign]
        name: np.full_like(values, value) for name, values in compute(images, wanted).items()
    }
    for _ in range(10):
        assert "the network failed on this photo" in refusal(client.post(content=astronaut), 500, "inference_failed")
    assert client.get("/healthz/live").status_code == 503
    assert client.metric("pose_rejected_total", reason="inference_failed") == 10
