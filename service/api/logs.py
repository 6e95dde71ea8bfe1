"""The format of the log: times with their offset from UTC, names of this service's modules, and few tracebacks."""

import copy
import logging
from collections import deque
from datetime import datetime
from typing import Final

_LINE: Final = "%(asctime)s %(levelname)s %(name)s %(message)s"
_NAMES: Final = {"uvicorn.error": "service.server"}  # most of what uvicorn says by that name is no error
_MOST_TRACEBACKS: Final = 10  # in so many seconds; a broken engine fails on every photo
_PERIOD_SECONDS: Final = 60.0


def configure(level: str) -> None:
    """Log to standard error.

    Args:
        level: The least severe line to log: debug, info, warning or error.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(LineFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler])
    # Below warnings Pillow logs what EXIF says of people's photos, where they were taken included.
    logging.getLogger("PIL").setLevel(max(logging.WARNING, logging.getLevelNamesMapping()[level.upper()]))


class LineFormatter(logging.Formatter):
    """Makes lines of records; of more than ten tracebacks in a minute only what was raised is left."""

    def __init__(self) -> None:
        super().__init__(_LINE)
        self._tracebacks: deque[float] = deque(maxlen=_MOST_TRACEBACKS)

    def format(self, record: logging.LogRecord) -> str:
        """A record's line, and its traceback."""
        shown = copy.copy(record)  # the record is other handlers' too
        shown.name = _NAMES.get(record.name, record.name)
        if record.exc_info and not self._take_traceback(record.created):
            kind, error, _ = record.exc_info
            why = f"its traceback is left out, as {_MOST_TRACEBACKS} came within {_PERIOD_SECONDS:g} s"
            shown.msg = f"{record.getMessage()}: {kind.__name__ if kind else ''}: {error} ({why})"
            shown.args, shown.exc_info, shown.exc_text = (), None, None
        return super().format(shown)

    def _take_traceback(self, now: float) -> bool:
        """Whether one more traceback may be shown; if so, it is counted."""
        if len(self._tracebacks) == _MOST_TRACEBACKS and now - self._tracebacks[0] < _PERIOD_SECONDS:
            return False
        self._tracebacks.append(now)
        return True

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        """The record's time here, in ISO 8601 with the offset from UTC."""
        return datetime.fromtimestamp(record.created).astimezone().isoformat(timespec="milliseconds")
