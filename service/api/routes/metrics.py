"""What Prometheus scrapes."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from service.api.lifecycle import Lifecycle

router = APIRouter(tags=["metrics"])


@router.head("/metrics", include_in_schema=False)
@router.get("/metrics", summary="Metrics in Prometheus' text format", response_class=Response)
async def metrics(request: Request) -> Response:
    """Request, stage and model metrics, and the process' own."""
    lifecycle: Lifecycle = request.app.state.lifecycle
    return Response(lifecycle.metrics.expose(), media_type=lifecycle.metrics.content_type)
