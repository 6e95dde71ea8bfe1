"""Each parser of what a client sends, at its worst: `python -m tests.support.worst` names those that are done.

A process of its own, since no thread can be stopped that has lost itself in a pattern.
"""

import asyncio
import contextlib
import json
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

from starlette.datastructures import QueryParams

from service.api.middleware import _SANE_ID
from service.api.negotiation import negotiate
from service.api.payload import check_encoding, parse_body
from service.errors import ServiceError
from service.poses.options import parse_options

MIB: Final = 2**20
BODY: Final = 32 * MIB
HEADERS: Final = 64 * 1024  # h11 reads no longer ones, the query among them

FORM: Final = "multipart/form-data; boundary=X"
FIELD: Final = b'--X\r\nContent-Disposition: form-data; name="image"\r\n\r\n'
END: Final = b"\r\n--X--\r\n"


def repeat(word: bytes, size: int = BODY) -> bytes:
    return word * (size // len(word))


def texts() -> Iterator[tuple[str, str]]:
    """Numbers, and what resembles them until the last character."""
    digits = "1" * BODY
    yield from {
        "digits": f"{digits}x",
        "a fraction": f"1.{digits}x",
        "halves": f"{digits[: BODY // 2]}.{digits[: BODY // 2]}x",
        "an exponent": f"1e{digits}x",
        "blanks before": " " * BODY + "x",
        "blanks behind": "1" + " " * BODY + "x",
        "a number": digits,
    }.items()


def bodies() -> Iterator[tuple[str, str, bytes]]:
    """Names, content types and bodies of 32 MiB."""
    json_bodies = {
        "empty lists": b'{"image": "", "boxes": [' + repeat(b"[],") + b"[]]}",
        "lists in lists": repeat(b"["),
        "objects in objects": repeat(b'{"image":'),
        "quotes": b'{"image": "' + repeat(b'\\"') + b'"}',
        "backslashes": b'{"image": "' + repeat(b"\\\\") + b'"}',
        "escapes": b'{"image": "' + repeat(b"A\\n") + b'"}',
        "long escapes": b'{"image": "' + repeat(b"\\u0041") + b'"}',
        "white space": b'{"image": "' + repeat(b"AB ") + b'"}',
        "a data URL": b'{"image": "data:' + repeat(b"base64;") + b'"}',
        "data URLs": b'{"image": "' + repeat(b"data:;base64,") + b'"}',
        "the other alphabet": b'{"image": "' + repeat(b"-_A") + b'"}',
        "byte-order marks": repeat(b"\xef\xbb\xbf"),
        "padding": b'{"image": "' + repeat(b"=") + b'"}',
        "digits": b'{"image": "", "boxes": [[' + repeat(b"1") + b", 0, 1, 1]]}",
        "a number's text": b'{"image": "", "boxes": [["' + repeat(b"1") + b'x", 0, 1, 1]]}',
        "keys": b"{" + b",".join(b'"%d":0' % index for index in range(3 * MIB)) + b"}",
    }
    for name, body in json_bodies.items():
        yield f"JSON of {name}", "application/json", body
    form_bodies = {
        "boundaries": repeat(b"--X\r\n"),
        "fields": repeat(b"--X\r\n\r\n\r\n"),
        "what resembles boundaries": FIELD + repeat(b"\r\n--Y") + END,
        "boundaries that go on": FIELD + repeat(b"\r\n--Xa") + END,
        "blanks behind a boundary": FIELD + b"\r\n--X" + repeat(b" ") + END,
        "a header's name": b"--X\r\n" + repeat(b"A"),
        "a header's value": b"--X\r\nContent-Disposition: form-data" + repeat(b";"),
        "headers": b"--X\r\n" + repeat(b"A: b\r\n"),
        "line ends": repeat(b"\r\n"),
        "no end": FIELD + repeat(b"\r"),
        "a long option": FIELD + END[:5] + FIELD.replace(b"image", b"boxes")[3:] + repeat(b"1;") + END,
    }
    for name, body in form_bodies.items():
        yield f"a form of {name}", FORM, body


def cases() -> Iterator[tuple[str, Callable[[], object]]]:
    """Every parser at its worst; each is made when its turn comes."""
    for name, text in texts():
        yield f"a box of {name}", partial(parse_options, [("boxes", [[text, 0, 1, 1]])], 64)
    yield "an option's name", partial(parse_options, [("x" * BODY, "1")], 64)
    yield "a flag", partial(parse_options, [("flip", [[["x" * MIB] * 32] * 9] * 9)], 64)
    for text in ("1;" * HEADERS, "[" * HEADERS, "[" + "[]," * HEADERS, "1" * HEADERS, f"[[{'1' * HEADERS}"):
        yield f"boxes of {text[:4]}", partial(parse_options, [("boxes", text[:HEADERS])], 64)
    for name, kind, body in bodies():
        yield name, lambda body=body, kind=kind: asyncio.run(parse_body(body, kind))  # type: ignore[misc]
    for word in (";", '";', '\\";', "a=b;", "=", '"'):
        kind = f"multipart/form-data;{word * HEADERS}"[:HEADERS]
        yield f"a content type of {word}", lambda kind=kind: asyncio.run(parse_body(b"x", kind))  # type: ignore[misc]
    for word in (",", ";", "a/b,", "a;q=1,", "a;q=" + "1" * HEADERS, " "):
        yield f"Accept of {word[:6]}", partial(negotiate, (word * HEADERS)[:HEADERS], ("text/plain", "text/html"))
    for word in (",", "gzip,", "identity,", " "):
        yield f"a content encoding of {word}", partial(check_encoding, [(word * HEADERS)[:HEADERS]])
    for word in ("&", "a&", "a=%41&", "%", "+", ";"):
        yield f"a query of {word}", partial(QueryParams, (word * HEADERS)[:HEADERS])
    yield "a request's id", partial(_SANE_ID.fullmatch, "a" * HEADERS)


def main() -> None:
    """Run every case; a refusal is an answer too."""
    for name, parse in cases():
        with contextlib.suppress(ServiceError):
            parse()
        print(json.dumps(name), flush=True)
    print("done", flush=True)


if __name__ == "__main__":
    main()
