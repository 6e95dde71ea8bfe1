import asyncio
import base64
import gc
import json
import weakref
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Message

from service import body as bodies
from service.body import Body, parse_body, parse_json, parse_multipart, read_body, while_connected
from service.problems import ClientGone, Malformed, NotAnImage, ServiceError, SlowBody, TooLarge

PHOTO = bytes(range(256)) * 20
FORM = "multipart/form-data; boundary=XX"


def form(**fields: bytes | str) -> bytes:
    parts = [
        f'--XX\r\nContent-Disposition: form-data; name="{name}"; filename="{name}"\r\n\r\n'.encode()
        + (value.encode() if isinstance(value, str) else value)
        for name, value in fields.items()
    ]
    return b"\r\n".join([*parts, b"--XX--\r\n"])


def channel(*messages: dict[str, Any]) -> Any:
    waiting = iter(messages)

    async def receive() -> Message:
        try:
            return next(waiting)
        except StopIteration:
            return await asyncio.get_running_loop().create_future()  # for ever

    return receive


def ignore(_: int) -> None:
    pass


def chunk(body: bytes, more: bool = False) -> dict[str, Any]:
    return {"type": "http.request", "body": body, "more_body": more}


def test_chunks_are_joined() -> None:
    receive = channel(chunk(b"ab", more=True), chunk(b"", more=True), chunk(b"c"))
    assert asyncio.run(read_body(receive, None, 3, 20, ignore)) == b"abc"


def test_every_byte_is_told_of() -> None:
    told: list[int] = []
    receive = channel(chunk(b"ab", more=True), chunk(b"c"))
    asyncio.run(read_body(receive, None, 3, 20, told.append))
    assert told == [2, 1]


def test_too_many_bytes_are_refused_as_announced_or_as_they_come() -> None:
    with pytest.raises(TooLarge, match="the body has 11 bytes or more; the limit is 10"):
        asyncio.run(read_body(channel(), "11", 10, 20, ignore))
    with pytest.raises(TooLarge, match="the body has 12 bytes or more; the limit is 10"):
        asyncio.run(read_body(channel(chunk(b"x" * 6, more=True), chunk(b"x" * 6, more=True)), None, 10, 20, ignore))


def test_a_client_that_hangs_up_or_stalls_in_its_body() -> None:
    with pytest.raises(ClientGone):
        asyncio.run(read_body(channel(chunk(b"x", more=True), {"type": "http.disconnect"}), None, 10, 20, ignore))
    with pytest.raises(SlowBody, match=r"within 0\.01 s"):
        asyncio.run(read_body(channel(chunk(b"x", more=True)), None, 10, 0.01, ignore))


@pytest.mark.parametrize("kind", ["", "image/jpeg", "image/anything", "application/octet-stream"])
def test_raw_bodies(kind: str) -> None:
    assert asyncio.run(parse_body(PHOTO, kind)) == Body(PHOTO)
    assert asyncio.run(parse_body(PHOTO, "application/x-www-form-urlencoded")) == Body(PHOTO)


def test_all_three_bodies_carry_the_same() -> None:
    wanted = Body(PHOTO, (("boxes", "0,0,1,1"), ("heatmaps", "true")))
    fields = {"image": base64.encodebytes(PHOTO).decode(), "boxes": "0,0,1,1", "heatmaps": "true"}
    assert asyncio.run(parse_body(json.dumps(fields).encode(), "application/json; charset=utf-8")) == wanted
    assert asyncio.run(parse_body(form(image=PHOTO, boxes="0,0,1,1", heatmaps="true"), FORM)) == wanted


def test_a_large_form_is_the_same_as_a_small_one() -> None:
    assert asyncio.run(parse_body(form(image=PHOTO * 100), FORM)) == Body(PHOTO * 100)


@pytest.mark.parametrize(
    ("body", "kind", "refusal", "sentence"),
    [
        (b"", "image/jpeg", Malformed, "the body is empty"),
        (b"x", "text/html", NotAnImage, "the content type 'text/html' is not read"),
        (b"{", "application/json", Malformed, "the body is not JSON"),
        (b"[" * 100_000, "application/json", Malformed, "the body is not JSON"),
        (b"[]", "application/json", Malformed, "must be an object"),
        (b'{"image": 3}', "application/json", Malformed, "as the text `image`"),
        (b'{"image": "a"}', "application/json", Malformed, "is not base64"),
        (b'{"image": "\xc3\xa9"}', "application/json", Malformed, "is not base64"),
        (form(image=PHOTO), "multipart/form-data", Malformed, "has no boundary"),
        (form(image=PHOTO), "multipart/form-data; boundary=", Malformed, "has no boundary"),
        (b"x", FORM, Malformed, "the multipart body is broken"),
        (form(image=PHOTO)[:-30], FORM, Malformed, "complete fields `image`"),
        (form(picture=PHOTO), FORM, Malformed, "has 0 complete fields `image`"),
        (form(image=PHOTO, boxes=b"\xff"), FORM, Malformed, "the field 'boxes' is not UTF-8"),
    ],
)
def test_a_broken_body_is_refused(body: bytes, kind: str, refusal: type[ServiceError], sentence: str) -> None:
    with pytest.raises(refusal) as refused:
        asyncio.run(parse_body(body, kind))
    assert sentence in refused.value.detail


@given(st.binary(max_size=300), st.integers(0, 300))
def test_any_bytes_in_a_form_or_in_json_are_read_or_refused(noise: bytes, place: int) -> None:
    for parse, whole in ((parse_json, b'{"image": "aaaa"}'), (lambda b: parse_multipart(b, FORM), form(image=b"p"))):
        for body in (noise, whole[:place] + noise + whole[place:]):
            try:
                assert isinstance(parse(body), Body)
            except ServiceError as error:
                assert error.status == 400


def test_work_is_done_while_the_client_is_there() -> None:
    async def work() -> int:
        return 3

    assert asyncio.run(while_connected(channel(), work())) == 3


def test_work_is_cancelled_when_the_client_goes() -> None:
    ended: list[str] = []

    async def work() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    with pytest.raises(ClientGone):
        asyncio.run(while_connected(channel({"type": "http.disconnect"}), work()))
    assert ended == ["cancelled"]


def test_a_form_is_freed_without_the_garbage_collector(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    class Watched(bodies._Parts):
        def __init__(self) -> None:
            super().__init__()
            made.append(weakref.ref(self))

    monkeypatch.setattr(bodies, "_Parts", Watched)
    gc.disable()
    try:
        parse_multipart(form(image=PHOTO), FORM)
        assert [found() for found in made] == [None]
    finally:
        gc.enable()


def test_a_form_of_countless_fields_is_refused() -> None:
    body = b"--X\r\n\r\n\r\n" * 100_000 + b"--X--\r\n"
    with pytest.raises(Malformed, match="more than 16 fields"):
        parse_multipart(body, "multipart/form-data; boundary=X")
