"""The probes of an orchestrator."""

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from service.api.lifecycle import Lifecycle
from service.api.openapi import refusals
from service.errors import NotReady

router = APIRouter(prefix="/healthz", tags=["health"])


@router.head("/live", include_in_schema=False)
@router.get("/live", summary="Is the process worth keeping?", responses=refusals({503: "Restart it."}))
async def live(request: Request) -> Response:
    """200 while the engine works; 503 when a thread of it has died or hangs, or the network fails on every photo."""
    lifecycle: Lifecycle = request.app.state.lifecycle
    if not lifecycle.is_alive:
        raise NotReady(
            "a thread of the engine's has died or hangs, or the network fails on every photo; restart the service"
        )
    return JSONResponse({"status": "alive"})


@router.head("/ready", include_in_schema=False)
@router.get("/ready", summary="Should requests be sent here?", responses=refusals({503: "Not now."}))
async def ready(request: Request) -> Response:
    """200 once a photo has gone the whole way at start; 503 before, while stopping, and when the engine is dead.

    `dsnt-pose serve` does not listen before, so nobody sees the first.
    """
    lifecycle: Lifecycle = request.app.state.lifecycle
    if not lifecycle.is_ready:
        raise NotReady("the service is " + ("stopping" if lifecycle.is_draining else "not ready to estimate poses"))
    return JSONResponse({"status": "ready"})
