"""What FastAPI cannot derive of the OpenAPI document: options in three places, and refusals as problems."""

from collections.abc import Mapping
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from service.api.problems import MEDIA_TYPE, REFERENCE, Problem
from service.poses.options import Options

REQUEST_ID: Final = {
    "X-Request-ID": {
        "description": "The request's own id if it sent one, else a new one.",
        "schema": {"type": "string"},
    }
}
_RETRY_AFTER: Final = {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer"}}}
_FILE: Final = {"type": "string", "format": "binary"}
_BASE64: Final = {
    "type": "string",
    "minLength": 1,
    "description": "The photo's file in base64, of either alphabet, or a data URL.",
}


def _options() -> dict[str, dict[str, Any]]:
    """The schema of each option."""
    properties: dict[str, dict[str, Any]] = Options.model_json_schema()["properties"]
    for schema in properties.values():
        schema.pop("title")
        if schema.get("default") in (None, []):
            del schema["default"]  # left out is not the same as null
    return properties


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema of an option in JSON, where null counts as left out."""
    alternatives = [each for each in schema["anyOf"] if each != {"type": "null"}]
    return {**schema, "anyOf": [*alternatives, {"type": "null"}]}


def query_parameters() -> list[dict[str, Any]]:
    """The options in the query."""
    return [
        {"name": name, "in": "query", "description": schema.pop("description"), "schema": schema}
        for name, schema in _options().items()
    ]


def json_schema() -> dict[str, Any]:
    """The schema of `POST /pose`'s JSON body."""
    return {
        "type": "object",
        "required": ["image"],
        "additionalProperties": False,
        "properties": {"image": _BASE64, **{name: _or_null(schema) for name, schema in _options().items()}},
    }


def request_body() -> dict[str, Any]:
    """The three bodies of `POST /pose`."""
    form = {"type": "object", "required": ["image"], "properties": {"image": _FILE, **_options()}}
    return {
        "required": True,
        "description": (
            "The photo; its bytes decide the format: JPEG, PNG, WebP, AVIF, BMP, the first frame of GIF and TIFF, "
            "and HEIC where the service has the extra that reads it."
        ),
        "content": {
            "image/*": {"schema": _FILE},
            "application/octet-stream": {"schema": _FILE},
            "multipart/form-data": {"schema": form},
            "application/json": {"schema": json_schema()},
        },
    }


def refusals(descriptions: Mapping[int, str]) -> dict[int | str, dict[str, Any]]:
    """Responses of a route by status, each a problem document."""
    return {
        status: {
            "description": description,
            "content": {MEDIA_TYPE: {"schema": REFERENCE}},
            "headers": {**REQUEST_ID, **(_RETRY_AFTER if status == 429 else {})},
        }
        for status, description in descriptions.items()
    }


def document(app: FastAPI) -> dict[str, Any]:
    """The application's OpenAPI document, with the problem as one of its components."""
    if app.openapi_schema is None:
        schema = get_openapi(
            title=app.title,
            version=app.version,
            summary=app.summary,
            routes=app.routes,
            license_info=app.license_info,
            servers=app.servers,
        )
        schema["components"]["schemas"]["Problem"] = Problem.model_json_schema()
        app.openapi_schema = schema
    return app.openapi_schema
