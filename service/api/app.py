"""The composition root: settings -> engine -> estimator -> routes."""

import importlib.metadata
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from service.api import problems
from service.api.lifecycle import Lifecycle
from service.api.linger import LingerMiddleware
from service.api.middleware import RequestMiddleware
from service.api.openapi import document
from service.api.routes import docs, health, metrics, pose, report
from service.errors import ServiceError
from service.inference.engine import Networks
from service.inference.onnx_engine import open_networks
from service.settings import Settings

NetworksFactory = Callable[[Settings], Networks]


def create_app(settings: Settings | None = None, open_networks: NetworksFactory = open_networks) -> FastAPI:
    """The ASGI application; its networks are opened and warmed up when its lifespan starts.

    Args:
        settings: The operator's choices; read from the environment if left out.
        open_networks: Opens the networks of the settings.
    """
    settings = settings or Settings.load()
    lifecycle = Lifecycle(settings)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        try:
            await lifecycle.start(open_networks(settings))
            yield
        finally:
            await lifecycle.stop()

    app = FastAPI(
        title="dsnt-pose",
        summary="Human pose estimation: POST a photo, get 16 joints with sub-pixel positions.",
        version=_version(),
        lifespan=lifespan,
        redirect_slashes=False,  # a photo should not travel twice
        docs_url=None,  # FastAPI's pages load their scripts from another host
        redoc_url=None,
        license_info={"name": "Apache-2.0"},
    )
    app.root_path = settings.root_path  # a proxy may strip it from a request's path or not
    app.state.lifecycle = lifecycle
    app.add_middleware(RequestMiddleware, lifecycle=lifecycle)
    app.add_middleware(LingerMiddleware, most_bytes=settings.max_body_bytes)
    for routes in (pose, health, metrics, report, docs):
        app.include_router(routes.router)
    _answer_with_problems(app, lifecycle)
    app.openapi = lambda: document(app)  # type: ignore[method-assign]  # FastAPI's own way of extending it
    return app


def _answer_with_problems(app: FastAPI, lifecycle: Lifecycle) -> None:
    async def refuse(request: Request, error: Exception) -> Response:
        translated = problems.translate(error, request.method, request.url.path)
        request.state.reason = translated.reason  # for the access log
        lifecycle.metrics.rejected.labels(translated.reason).inc()
        return problems.describe(translated, request.state.request_id)

    for kind in (ServiceError, HTTPException, RequestValidationError):
        app.add_exception_handler(kind, refuse)


def _version() -> str:
    try:
        return importlib.metadata.version("dsnt-pose")
    except importlib.metadata.PackageNotFoundError:
        return "0+unknown"
