"""Everything that can go wrong, as one tree of exceptions; each carries its status and reason as data.

ServiceError                    status  reason
├── Malformed                      400  malformed
├── NotFound                       404  not_found
├── MethodNotAllowed               405  method_not_allowed
├── NotAcceptable                  406  not_acceptable
├── SlowBody                       408  slow_body
├── TooLarge                       413  too_large
├── NotAnImage                     415  not_an_image
├── EncodedBody                    415  encoded_body
├── BadOption                      422  bad_option
├── Overloaded                     429  overloaded
├── ClientGone                     499  client_gone
├── InferenceFailed                500  inference_failed
├── NotReady                       503  not_ready
├── OutOfMemory                    503  out_of_memory
└── DeadlineMissed                 503  deadline
StartupError                    the process ends with one sentence
"""

from typing import ClassVar, Final


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


class EncodedBody(ServiceError):
    """The body is compressed, or encoded in another way that the service does not undo."""

    status, reason, title = 415, "encoded_body", "Encoded body"


class BadOption(ServiceError):
    """An option is unknown or its value is out of range, or all together ask for too much."""

    status, reason, title = 422, "bad_option", "Bad option"


class Overloaded(ServiceError):
    """More is waiting than can be answered in time."""

    status, reason, title = 429, "overloaded", "Overloaded"

    def __init__(self, detail: str, retry_after_seconds: float) -> None:
        super().__init__(detail)
        self.retry_after_seconds = retry_after_seconds


class ClientGone(ServiceError):
    """The client hung up before the answer; nobody reads this problem, the metrics count it."""

    status, reason, title = 499, "client_gone", "Client closed the connection"


class InferenceFailed(ServiceError):
    """The network failed on this request alone."""

    status, reason, title = 500, "inference_failed", "Inference failed"


class NotReady(ServiceError):
    """The service is starting, stopping, or its engine has stopped."""

    status, reason, title = 503, "not_ready", "Not ready"


class OutOfMemory(ServiceError):
    """The process has not enough memory at this moment."""

    status, reason, title = 503, "out_of_memory", "Out of memory"


class DeadlineMissed(ServiceError):
    """The answer would have come too late."""

    status, reason, title = 503, "deadline", "Deadline missed"


KINDS: Final[tuple[type[ServiceError], ...]] = (ServiceError, *ServiceError.__subclasses__())
"""Every refusal that the service knows."""
