"""`POST /pose`: a photo in, its people's joints out."""

import time
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final

from fastapi import APIRouter, Request
from fastapi.routing import APIRoute
from pydantic_core import to_json
from starlette.background import BackgroundTask
from starlette.responses import Response

from service.api.lifecycle import Runtime
from service.api.payload import copies, parse_body, read_body, while_connected
from service.errors import MEDIA_TYPE, NotReady
from service.formats.native import PoseAnswer, PoseRequest, Problem, answer
from service.poses.estimator import Estimate, Estimator
from service.poses.options import Options, parse_options

_BOXES: Final = "People's boxes, `x,y,width,height` in photo pixels, separated by `;`. Left out: the whole photo."
_HEATMAPS: Final = "Whether the answer carries the heatmaps."
_FLIP: Final = (
    "Look at each crop's mirror image too and average both: twice the work, and with this model hardly more accurate."
)
_REFINE: Final = (
    "Find the person in a first pass, then look closer, up to twice; without boxes also once from a distance, for "
    "photos that end above somebody's feet. On by default without boxes, off with them."
)
_FILE: Final = {"type": "string", "format": "binary"}

_REFUSALS: Final = {
    400: "The body is empty, truncated or malformed.",
    408: "The body did not arrive in time.",
    413: "Too many bytes or too many pixels.",
    415: "Not an image in a format that is read, or a content type that is not.",
    422: "An option is unknown, given twice, or out of range; a box lies outside the photo; or all need too long.",
    429: "More is waiting than can be answered in time, or held in memory.",
    500: "The network failed on this photo.",
    503: "Not ready, or the deadline passed.",
}

_HEADERS: Final = {
    "X-Request-ID": {
        "description": "The request's own id if it sent one, else a new one.",
        "schema": {"type": "string"},
    },
    "Server-Timing": {"description": "Milliseconds of each stage.", "schema": {"type": "string"}},
}


def _describe_refusal(status: int, description: str) -> dict[str, Any]:
    content = {MEDIA_TYPE: {"schema": Problem.model_json_schema()}}
    headers: dict[str, Any] = {"X-Request-ID": _HEADERS["X-Request-ID"]}
    if status == 429:
        headers["Retry-After"] = {"description": "Seconds to wait.", "schema": {"type": "integer"}}
    return {"description": description, "content": content, "headers": headers}


_OPENAPI: Final = {
    "parameters": [
        {"name": "boxes", "in": "query", "description": _BOXES, "schema": {"type": "string"}},
        {"name": "heatmaps", "in": "query", "description": _HEATMAPS, "schema": {"type": "boolean", "default": False}},
        {"name": "flip", "in": "query", "description": _FLIP, "schema": {"type": "boolean", "default": False}},
        {"name": "refine", "in": "query", "description": _REFINE, "schema": {"type": "boolean"}},
    ],
    "requestBody": {
        "required": True,
        "description": "The photo; its bytes decide the format: JPEG, PNG, WebP, GIF, TIFF or BMP.",
        "content": {
            "image/*": {"schema": _FILE},
            "application/octet-stream": {"schema": _FILE},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["image"],
                    "properties": {
                        "image": _FILE,
                        "boxes": {"type": "string", "description": f"{_BOXES} Or JSON: `[[x, y, width, height]]`."},
                        "heatmaps": {"type": "boolean", "description": _HEATMAPS},
                        "flip": {"type": "boolean", "description": _FLIP},
                        "refine": {"type": "boolean", "description": _REFINE},
                    },
                }
            },
            "application/json": {"schema": PoseRequest.model_json_schema()},
        },
    },
}


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
        200: {"description": "The people, in the order of the boxes.", "headers": _HEADERS},
        **{status: _describe_refusal(status, told) for status, told in _REFUSALS.items()},
    },
    openapi_extra=_OPENAPI,
)
async def pose(request: Request) -> Response:
    """Find 16 joints for each box, or for the whole photo without boxes.

    Options have the same names and rules in the query, in a form and in JSON; each may be given once (of a key that
    JSON has twice, the last counts).
    """
    runtime: Runtime = request.app.state.runtime
    estimator = runtime.estimator
    if estimator is None:
        raise NotReady("the service is still starting")
    estimator.admission.check()  # of a photo that nobody could answer, nothing is read
    with runtime.bodies.hold() as take:
        photo, options = await _read(request, runtime, take)
        estimate = await while_connected(request.receive, estimator.estimate(photo, options))
    response, size = _encode(estimate, estimator, runtime), len(photo)

    async def record() -> None:  # async, since starlette gives plain functions a thread
        estimator.record(size, estimate)

    response.background = BackgroundTask(record)  # runs when the answer is on its way
    return response


async def _read(request: Request, runtime: Runtime, take: Callable[[int], None]) -> tuple[bytes, Options]:
    settings = runtime.settings
    start = time.perf_counter()
    length, kind = request.headers.get("content-length"), request.headers.get("content-type", "")
    held = copies(kind)
    limits = settings.max_body_bytes, settings.deadline_seconds
    data = await read_body(request.receive, length, *limits, lambda count: take(held * count))
    body = await parse_body(data, kind)
    options = parse_options((*request.query_params.multi_items(), *body.options), settings.max_boxes)
    runtime.metrics.observe_stage("receive", time.perf_counter() - start)
    return body.photo, options


def _encode(estimate: Estimate, estimator: Estimator, runtime: Runtime) -> Response:
    start = time.perf_counter()
    content = to_json(answer(estimate, estimator.info), inf_nan_mode="null")
    runtime.metrics.observe_stage("encode", time.perf_counter() - start)
    return Response(content, media_type="application/json", headers={"Server-Timing": server_timing(estimate.timing)})


def server_timing(timing: Mapping[str, float]) -> str:
    """The stages' times as a `Server-Timing` header, in milliseconds."""
    return ", ".join(f"{stage};dur={seconds * 1000:.3f}" for stage, seconds in timing.items())
