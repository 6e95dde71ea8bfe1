"""What Prometheus scrapes."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from service.api.lifecycle import Runtime

router = APIRouter(tags=["metrics"])


@router.head("/metrics", include_in_schema=False)
@router.get("/metrics", summary="Metrics in Prometheus' text format", response_class=Response)
async def metrics(request: Request) -> Response:
    """Request, stage and model metrics, and the process' own."""
    runtime: Runtime = request.app.state.runtime
    return Response(runtime.metrics.expose(), media_type=runtime.metrics.content_type)
