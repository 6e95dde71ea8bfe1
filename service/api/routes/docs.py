"""`GET /docs`: the OpenAPI document as a page. All of it comes from here; its addresses are relative to its own."""

from importlib.resources import files
from typing import Final

from fastapi import APIRouter
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, Response

router = APIRouter(include_in_schema=False)

_STATIC: Final = files("service.api") / "static"
_SWAGGER: Final = files("fastapi_swagger") / "resources"
_FILES: Final = {
    "docs.js": (_STATIC, "text/javascript"),
    "swagger-ui-bundle.js": (_SWAGGER, "text/javascript"),
    "swagger-ui.css": (_SWAGGER, "text/css"),
    "favicon-32x32.png": (_SWAGGER, "image/png"),
}

# Swagger UI styles its elements one by one, and its style sheet holds its pictures.
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@router.head("/docs")
@router.get("/docs")
async def page() -> Response:
    """The page."""
    headers = {"Content-Security-Policy": _POLICY, "Cache-Control": "no-cache"}
    return FileResponse(str(_STATIC / "docs.html"), media_type="text/html", headers=headers)


@router.head("/docs/{name}")
@router.get("/docs/{name}")
async def file(name: str) -> Response:
    """A file of the page's."""
    if name not in _FILES:
        raise HTTPException(404)
    folder, media_type = _FILES[name]
    return FileResponse(str(folder / name), media_type=media_type, headers={"Cache-Control": "max-age=3600"})
