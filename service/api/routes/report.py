"""`GET /report`: the live Table 4 for people and for programs."""

from collections.abc import Callable
from typing import Final

from fastapi import APIRouter, Request
from starlette.responses import Response

from service.api.lifecycle import Lifecycle
from service.api.negotiation import negotiate
from service.api.openapi import refusals
from service.errors import NotAcceptable
from service.report.formats import as_html, as_json, as_text
from service.report.table4 import Report

router = APIRouter(tags=["report"])

_FORMATS: Final[dict[str, Callable[[Report], str]]] = {
    "text/plain": as_text,
    "application/json": as_json,
    "text/html": as_html,
}

# The page holds its own style and asks for nothing else.
_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"

_REFUSALS: Final = {406: "No format that the client accepts.", 503: "Still starting."}


@router.head("/report", include_in_schema=False)
@router.get(
    "/report",
    summary="The paper's Table 4 with this deployment's row",
    response_model=Report,
    responses={
        200: {"description": "In the format that `Accept` prefers.", "content": {kind: {} for kind in _FORMATS}},
        **refusals(_REFUSALS),
    },
)
async def report(request: Request) -> Response:
    """Accuracy, time and memory: the paper's seven methods as printed, and this deployment from its live traffic."""
    lifecycle: Lifecycle = request.app.state.lifecycle
    accept = ",".join(request.headers.getlist("accept"))
    media_type = negotiate(accept, tuple(_FORMATS))
    if media_type is None:
        raise NotAcceptable(f"the report comes as {', '.join(_FORMATS)}, not as {accept[:200]}")
    headers = {"Vary": "Accept", "Cache-Control": "no-cache", "Content-Security-Policy": _POLICY}
    return Response(_FORMATS[media_type](lifecycle.report()), headers=headers, media_type=media_type)
