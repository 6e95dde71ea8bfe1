"""`POST /pose`: a photo in, its people's joints out."""

import time
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final

from fastapi import APIRouter, Request
from fastapi.routing import APIRoute
from starlette.background import BackgroundTask
from starlette.responses import Response

from service.api.lifecycle import Lifecycle
from service.api.openapi import REQUEST_ID, query_parameters, refusals, request_body
from service.api.payload import check_encoding, copies, parse_body
from service.api.upload import read_body, while_connected
from service.errors import NotReady
from service.formats.native import MEDIA_TYPE, PoseAnswer, encode
from service.inference.engine import EngineInfo
from service.metrics import Metrics
from service.poses.options import Options, parse_options
from service.poses.people import Poses

_REFUSALS: Final = {
    400: "The body is empty, truncated or malformed.",
    408: "The body did not arrive in time.",
    413: "Too many bytes or too many pixels.",
    415: "Not an image in a format that is read, a content type that is not, or a compressed body.",
    422: "An option is unknown, occurs twice, or is out of range; a box lies outside the photo; or all need too long.",
    429: "More is waiting than can be answered in time, or held in memory.",
    500: "The network failed on this photo.",
    503: "Not ready, or the deadline passed.",
}

_TIMING: Final = {"Server-Timing": {"description": "Milliseconds of each stage.", "schema": {"type": "string"}}}


class _DirectRoute(APIRoute):
    """A route that FastAPI describes and does not stand in the way of: its function reads the request itself."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        return self.endpoint


router = APIRouter(tags=["pose"], route_class=_DirectRoute)


@router.post(
    "/pose",
    summary="Joints of the people in a photo",
    response_model=PoseAnswer,
    responses={
        200: {
            "description": "The people, in the order of the boxes, or by size.",
            "headers": {**REQUEST_ID, **_TIMING},
        },
        **refusals(_REFUSALS),
    },
    openapi_extra={"parameters": query_parameters(), "requestBody": request_body()},
)
async def pose(request: Request) -> Response:
    """Find 16 joints for each box, or for everyone found where there are none.

    Options have the same names and rules in the query, in a form and in JSON; each may occur once (of a key that
    JSON has twice, the last counts).
    """
    lifecycle: Lifecycle = request.app.state.lifecycle
    estimator = lifecycle.estimator
    if estimator is None:
        raise NotReady("the service is still starting")
    estimator.admission.check()  # of a photo that nobody could answer, nothing is read
    with lifecycle.uploads.hold() as take:
        photo, options = await _read(request, lifecycle, take)
        poses = await while_connected(request.receive, estimator.estimate(photo, options))
    response, size = _encode(poses, estimator.estimator.info, lifecycle.metrics), len(photo)

    async def record() -> None:  # async, since starlette gives plain functions a thread
        _record(size, poses, lifecycle.metrics)

    response.background = BackgroundTask(record)  # runs when the answer is on its way
    return response


async def _read(request: Request, lifecycle: Lifecycle, take: Callable[[int], None]) -> tuple[bytes, Options]:
    settings = lifecycle.settings
    start = time.perf_counter()
    length, kind = request.headers.get("content-length"), request.headers.get("content-type", "")
    check_encoding(request.headers.getlist("content-encoding"))
    held = copies(kind)
    limits = settings.max_body_bytes, settings.deadline_seconds
    data = await read_body(request.receive, length, *limits, lambda count: take(held * count))
    body = await parse_body(data, kind)
    options = parse_options((*request.query_params.multi_items(), *body.options), settings.max_people)
    lifecycle.metrics.observe_stage("receive", time.perf_counter() - start)
    return body.photo, options


def _encode(poses: Poses, info: EngineInfo, metrics: Metrics) -> Response:
    start = time.perf_counter()
    content = encode(poses, info)
    metrics.observe_stage("encode", time.perf_counter() - start)
    return Response(content, media_type=MEDIA_TYPE, headers={"Server-Timing": server_timing(poses.timing)})


def _record(size: int, poses: Poses, metrics: Metrics) -> None:
    """Put the poses of a photo's file of `size` bytes into the metrics; takes no part in answering."""
    for stage, seconds in poses.timing.items():
        if stage != "total":
            metrics.observe_stage(stage, seconds)
    metrics.image_bytes.observe(size)
    metrics.image_pixels.observe(poses.width * poses.height)
    metrics.people.inc(len(poses.people))
    if poses.was_searched:
        metrics.observe_found(poses.found, [person.score for person in poses.people if person.score is not None])
    for person in poses.people:
        metrics.observe_joints(person.std[:, 0], person.confidence)


def server_timing(timing: Mapping[str, float]) -> str:
    """The stages' times as a `Server-Timing` header, in milliseconds."""
    return ", ".join(f"{stage};dur={seconds * 1000:.3f}" for stage, seconds in timing.items())
