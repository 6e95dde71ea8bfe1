"""The one mapper from errors to RFC 9457 problem documents."""

import math
from typing import Final

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.responses import Response

from service.errors import (
    BadOption,
    EncodedBody,
    Malformed,
    MethodNotAllowed,
    NotFound,
    OutOfMemory,
    Overloaded,
    ServiceError,
)

MEDIA_TYPE: Final = "application/problem+json"


class Problem(BaseModel):
    """An RFC 9457 problem document."""

    model_config = ConfigDict(frozen=True)

    type: str = Field(examples=["urn:dsnt-pose:problem:bad_option"])
    title: str
    status: int
    detail: str = Field(description="one sentence that names the value and the limit")
    instance: str = Field(description="this one request")
    reason: str = Field(description="stable word, the same as in pose_rejected_total{reason}", examples=["bad_option"])


REFERENCE: Final = {"$ref": "#/components/schemas/Problem"}
"""The component of the OpenAPI document."""


def translate(error: Exception, method: str, path: str) -> ServiceError:
    """Any exception as one of ours: the framework's by their status, what is unexpected without its inside."""
    match error:
        case ServiceError():
            return error
        case HTTPException():
            return _translate_http(error, method, path[:200])
        case RequestValidationError():
            first = error.errors()[0]
            return BadOption(f"{'.'.join(map(str, first['loc']))} is wrong: {first['msg']}")
        case MemoryError():
            return OutOfMemory("there is not enough memory for this request now; try again later")
    return ServiceError("the service failed unexpectedly; its log has more under this request's id")


def _translate_http(error: HTTPException, method: str, path: str) -> ServiceError:
    match error.status_code:
        case 404:
            return NotFound(f"there is nothing at {path}; /docs lists the routes")
        case 405:
            allowed = (error.headers or {}).get("Allow", "")
            return MethodNotAllowed(f"{method} is not a method of {path}; it has {allowed}", allowed)
    return Malformed(f"the request is refused: {error.detail}")


def describe(error: ServiceError, request_id: str) -> Response:
    """An error as a problem document; `instance` names this one request."""
    problem = Problem(
        type=f"urn:dsnt-pose:problem:{error.reason}",
        title=error.title,
        status=error.status,
        detail=error.detail,
        instance=f"urn:dsnt-pose:request:{request_id}",
        reason=error.reason,
    )
    return Response(problem.model_dump_json(), error.status, _headers(error), MEDIA_TYPE)


def _headers(error: ServiceError) -> dict[str, str]:
    match error:
        case MethodNotAllowed():
            return {"Allow": error.allowed}
        case EncodedBody():
            return {"Accept-Encoding": "identity"}
        case Overloaded():
            return {"Retry-After": str(max(1, math.ceil(error.retry_after_seconds)))}
    return {}
