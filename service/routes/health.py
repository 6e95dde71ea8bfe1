"""The probes of an orchestrator."""

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from service.problems import NotReady
from service.runtime import Runtime

router = APIRouter(prefix="/healthz", tags=["health"])


@router.head("/live", include_in_schema=False)
@router.get("/live", summary="Is the process worth keeping?", responses={503: {"description": "Restart it."}})
async def live(request: Request) -> Response:
    """200 while the engine's thread runs; 503 when it has died or hangs."""
    runtime: Runtime = request.app.state.runtime
    if not runtime.is_alive:
        raise NotReady("the engine's thread has died or hangs; restart the service")
    return JSONResponse({"status": "alive"})


@router.head("/ready", include_in_schema=False)
@router.get("/ready", summary="Should requests be sent here?", responses={503: {"description": "Not now."}})
async def ready(request: Request) -> Response:
    """200 once a photo has gone the whole way at start; 503 before, while stopping, and when the engine is dead."""
    runtime: Runtime = request.app.state.runtime
    if not runtime.is_ready:
        raise NotReady("the service is " + ("stopping" if runtime.is_draining else "not ready to estimate poses"))
    return JSONResponse({"status": "ready"})
