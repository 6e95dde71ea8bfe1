"""Everything that can go wrong, as one tree of exceptions and one mapper to RFC 9457 problem documents.

ServiceError                    status  reason
├── Malformed                      400  malformed
├── NotFound                       404  not_found
├── MethodNotAllowed               405  method_not_allowed
├── NotAcceptable                  406  not_acceptable
├── SlowBody                       408  slow_body
├── TooLarge                       413  too_large
├── NotAnImage                     415  not_an_image
├── BadOption                      422  bad_option
├── Overloaded                     429  overloaded
├── ClientGone                     499  client_gone
├── InferenceFailed                500  inference_failed
├── NotReady                       503  not_ready
└── DeadlineMissed                 503  deadline
StartupError                    the process ends with one sentence
"""

import http
import math
from typing import Any, ClassVar, Final

import pydantic_core
from starlette.exceptions import HTTPException
from starlette.responses import Response

MEDIA_TYPE = "application/problem+json"


class StartupError(Exception):
    """The service cannot start; the message says why in one sentence."""


class ServiceError(Exception):
    """A refusal: one sentence for the client, the HTTP status, and a stable word for programs and metrics."""

    status: ClassVar[int] = 500
    reason: ClassVar[str] = "internal"
    title: ClassVar[str] = "Internal error"

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail

    @property
    def headers(self) -> dict[str, str]:
        """HTTP headers that belong to the answer."""
        return {}


class Malformed(ServiceError):
    """The body is not what it claims to be."""

    status, reason, title = 400, "malformed", "Malformed request"


class NotFound(ServiceError):
    """There is no route at this path."""

    status, reason, title = 404, "not_found", "Not found"


class MethodNotAllowed(ServiceError):
    """The route does not have this method."""

    status, reason, title = 405, "method_not_allowed", "Method not allowed"

    def __init__(self, detail: str, allowed: str) -> None:
        super().__init__(detail)
        self.allowed = allowed

    @property
    def headers(self) -> dict[str, str]:
        """`Allow`, as HTTP wants it."""
        return {"Allow": self.allowed}


class NotAcceptable(ServiceError):
    """The client accepts none of the formats on offer."""

    status, reason, title = 406, "not_acceptable", "Not acceptable"


class SlowBody(ServiceError):
    """The body did not arrive in time."""

    status, reason, title = 408, "slow_body", "Body too slow"


class TooLarge(ServiceError):
    """The body has too many bytes or the photo too many pixels."""

    status, reason, title = 413, "too_large", "Too large"


class NotAnImage(ServiceError):
    """The bytes, or the body's content type, are of no kind that the service reads."""

    status, reason, title = 415, "not_an_image", "Not an image"


class BadOption(ServiceError):
    """An option is unknown or its value is out of range, or all together ask for too much."""

    status, reason, title = 422, "bad_option", "Bad option"


class Overloaded(ServiceError):
    """More is waiting than can be answered in time."""

    status, reason, title = 429, "overloaded", "Overloaded"

    def __init__(self, detail: str, retry_after_seconds: float) -> None:
        super().__init__(detail)
        self.retry_after_seconds = retry_after_seconds

    @property
    def headers(self) -> dict[str, str]:
        """`Retry-After` in whole seconds, at least 1."""
        return {"Retry-After": str(max(1, math.ceil(self.retry_after_seconds)))}


class ClientGone(ServiceError):
    """The client hung up before the answer; nobody reads this problem, the metrics count it."""

    status, reason, title = 499, "client_gone", "Client closed the connection"


class InferenceFailed(ServiceError):
    """The network failed on this request alone."""

    status, reason, title = 500, "inference_failed", "Inference failed"


class NotReady(ServiceError):
    """The service is starting, stopping, or its engine has stopped."""

    status, reason, title = 503, "not_ready", "Not ready"


class DeadlineMissed(ServiceError):
    """The answer would have come too late."""

    status, reason, title = 503, "deadline", "Deadline missed"


KINDS: Final[tuple[type[ServiceError], ...]] = (ServiceError, *ServiceError.__subclasses__())
"""Every refusal that the service knows."""


def translate(error: Exception, method: str, path: str) -> Exception:
    """The framework's own 404 and 405 as ours; every other exception as it is."""
    match error:
        case HTTPException(status_code=404):
            return NotFound(f"there is nothing at {path[:200]}; /docs lists the routes")
        case HTTPException(status_code=405):
            allowed = (error.headers or {}).get("Allow", "")
            return MethodNotAllowed(f"{method} is not a method of {path[:200]}; it has {allowed}", allowed)
    return error


def document(status: int, reason: str, title: str, detail: str, request_id: str) -> dict[str, Any]:
    """An RFC 9457 problem document; `instance` names this one request."""
    return {
        "type": f"urn:dsnt-pose:problem:{reason}",
        "title": title,
        "status": status,
        "detail": detail,
        "instance": f"urn:dsnt-pose:request:{request_id}",
        "reason": reason,
    }


def describe(error: Exception, request_id: str) -> tuple[dict[str, Any], dict[str, str]]:
    """The problem document and the headers for any exception; what is not ours tells nothing of the inside."""
    match error:
        case ServiceError():
            fields = (error.status, error.reason, error.title, error.detail)
            return document(*fields, request_id), error.headers
        case HTTPException():
            title = http.HTTPStatus(error.status_code).phrase
            fields = (error.status_code, "http_error", title, error.detail)
            return document(*fields, request_id), dict(error.headers or {})
        case _:
            detail = "the service failed unexpectedly; its log has more under this request's id"
            return document(500, ServiceError.reason, ServiceError.title, detail, request_id), {}


def response(problem: dict[str, Any], headers: dict[str, str]) -> Response:
    """What `describe` returns, as an HTTP response."""
    return Response(pydantic_core.to_json(problem), problem["status"], headers, MEDIA_TYPE)
