import contextlib
import io
import logging
import re
from collections.abc import Iterator

from PIL import Image, TiffImagePlugin

from service.api import logs
from service.api.logs import LineFormatter

NOON = 1_800_000_000.0


def record(created: float = NOON, name: str = "service.x", error: BaseException | None = None) -> logging.LogRecord:
    exc_info = (type(error), error, error.__traceback__) if error else None
    made = logging.LogRecord(name, logging.ERROR, __file__, 1, "photo %d", (7,), exc_info)
    made.created = created
    return made


def failure() -> Exception:
    try:
        raise ValueError("bad")
    except ValueError as error:
        return error


def test_a_line_has_the_time_with_its_offset() -> None:
    line = LineFormatter().format(record())
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d ERROR service\.x photo 7", line)


def test_what_uvicorn_says_is_the_servers_and_others_see_the_record_as_it_was() -> None:
    original = record(name="uvicorn.error", error=failure())
    formatter = LineFormatter()
    for _ in range(20):
        assert " service.server photo 7" in formatter.format(original)
    assert (original.name, original.msg, original.args) == ("uvicorn.error", "photo %d", (7,))
    assert original.exc_info
    assert original.exc_text is None


def test_of_more_than_ten_tracebacks_in_a_minute_the_error_is_left() -> None:
    formatter = LineFormatter()
    shown = [formatter.format(record(NOON + index, error=failure())) for index in range(12)]
    assert ["Traceback" in text for text in shown] == [True] * 10 + [False] * 2
    assert shown[-1].endswith("photo 7: ValueError: bad (its traceback is left out, as 10 came within 60 s)")
    later = [formatter.format(record(NOON + seconds, error=failure())) for seconds in (59, 60, 60.5, 61)]
    assert ["Traceback" in text for text in later] == [False, True, False, True]


@contextlib.contextmanager
def configured(level: str) -> Iterator[logging.Handler]:
    """The one handler that `configure` makes where there is none."""
    root, pillow = logging.getLogger(), logging.getLogger("PIL")
    handlers, levels = root.handlers[:], (root.level, pillow.level)
    root.handlers[:] = []
    try:
        logs.configure(level)
        yield root.handlers[0]
    finally:
        root.handlers[:] = handlers
        root.setLevel(levels[0])
        pillow.setLevel(levels[1])


def photo_with_a_place() -> bytes:
    file = io.BytesIO()
    exif = Image.Exif()
    exif[270] = "at home"
    Image.new("RGB", (8, 8)).save(file, "TIFF", exif=exif)
    return file.getvalue()


def test_what_exif_says_is_never_logged() -> None:
    with configured("debug") as handler:
        assert isinstance(handler, logging.StreamHandler)
        handler.setStream(text := io.StringIO())
        TiffImagePlugin.TiffImageFile(io.BytesIO(photo_with_a_place())).load()
        logging.getLogger("service").debug("here")
    assert re.search(r"[+-]\d\d:\d\d DEBUG service here\n$", text.getvalue())
    assert "at home" not in text.getvalue()


def test_pillow_says_no_more_than_the_others() -> None:
    with configured("error"):
        assert not logging.getLogger("PIL").isEnabledFor(logging.WARNING)
