import asyncio
import base64
import codecs
import contextlib
import json
import threading
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.api import payload as bodies
from service.api.payload import Body, check_encoding, copies, parse_body, parse_json, parse_multipart
from service.errors import EncodedBody, Malformed, NotAnImage, ServiceError, TooLarge

PHOTO = bytes(range(256)) * 20
FORM = "multipart/form-data; boundary=XX"


def form(**fields: bytes | str) -> bytes:
    parts = [
        f'--XX\r\nContent-Disposition: form-data; name="{name}"; filename="{name}"\r\n\r\n'.encode()
        + (value.encode() if isinstance(value, str) else value)
        for name, value in fields.items()
    ]
    return b"\r\n".join([*parts, b"--XX--\r\n"])


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
        (b"[" * 100_000, "application/json", Malformed, "nested deeper than the limit of 200 levels"),
        (b"[]", "application/json", Malformed, "must be an object"),
        (b'{"image": 3}', "application/json", Malformed, "as the text `image`"),
        (b'{"image": "AA==AAAA"}', "application/json", Malformed, "is not base64"),
        (
            b'{"image": "a"}',
            "application/json",
            Malformed,
            "is not base64: the number of its characters is that of no whole number of bytes",
        ),
        (b'{"image": "AAA=="}', "application/json", Malformed, "is not base64"),
        (b'{"image": "AA="}', "application/json", Malformed, "is not base64"),
        (b'{"image": "data:image/png,AAAA"}', "application/json", Malformed, "does not follow `;base64,`"),
        (b'{"image": "data:image/png;base64"}', "application/json", Malformed, "does not follow `;base64,`"),
        (b'{"image": "data:%b;base64,AAAA"}' % (b"x" * 1024), "application/json", Malformed, "does not follow"),
        (b'\xef\xbb\xbf\xef\xbb\xbf{"image": "AAAA"}', "application/json", Malformed, "is not JSON"),
        (b'{"image": "\xc3\xa9"}', "application/json", Malformed, "is not base64"),
        (form(image=PHOTO), "multipart/form-data", Malformed, "has no boundary"),
        (form(image=PHOTO), "multipart/form-data; boundary=", Malformed, "has no boundary"),
        (b"x", FORM, Malformed, "the multipart body is broken"),
        (form(image=PHOTO)[:-30], FORM, Malformed, "no boundary ends its last field"),
        (form(image=PHOTO)[:-4], FORM, Malformed, "no headers of at most 16,384 bytes follow a boundary"),
        (b"--XX\r\n" + b"A" * 20_000, FORM, Malformed, "no headers of at most 16,384 bytes"),
        (form(picture=PHOTO), FORM, Malformed, "has 0 fields `image`"),
        (form(image=PHOTO)[: -len(b"--XX--\r\n")] + form(image=PHOTO), FORM, Malformed, "has 2 fields `image`"),
        (form(image=PHOTO, boxes=b"\xff"), FORM, Malformed, "the field 'boxes' is not UTF-8"),
    ],
)
def test_a_broken_body_is_refused(body: bytes, kind: str, refusal: type[ServiceError], sentence: str) -> None:
    with pytest.raises(refusal) as refused:
        asyncio.run(parse_body(body, kind))
    assert sentence in refused.value.detail


def test_a_form_may_have_sixteen_fields() -> None:
    options = {f"option{index}": "1" for index in range(15)}
    assert asyncio.run(parse_body(form(image=PHOTO, **options), FORM)) == Body(PHOTO, tuple(options.items()))
    with pytest.raises(Malformed, match="more than 16 fields"):
        asyncio.run(parse_body(form(image=PHOTO, **options, another="1"), FORM))


@pytest.mark.parametrize("kind", ["IMAGE/JPEG", " image/jpeg ; q=1", "Application/Octet-Stream", ""])
def test_a_content_type_may_be_in_capitals(kind: str) -> None:
    assert asyncio.run(parse_body(PHOTO, kind)) == Body(PHOTO)


@pytest.mark.parametrize("values", [[], [""], ["identity"], ["Identity", " identity ,"]])
def test_a_body_as_it_is_is_read(values: list[str]) -> None:
    check_encoding(values)


@pytest.mark.parametrize("values", [["gzip"], ["identity, br"], ["identity", "x" * 100], ["GZIP"]])
def test_a_compressed_body_is_refused_by_name(values: list[str]) -> None:
    name = values[-1].split(", ")[-1].lower()[:60]
    with pytest.raises(EncodedBody, match=f"the body's content encoding '{name}' is not read"):
        check_encoding(values)


@given(st.binary(max_size=300), st.integers(0, 300))
def test_any_bytes_in_a_form_or_in_json_are_read_or_refused(noise: bytes, place: int) -> None:
    for parse, whole in ((parse_json, b'{"image": "aaaa"}'), (lambda b: parse_multipart(b, FORM), form(image=b"p"))):
        for body in (noise, whole[:place] + noise + whole[place:]):
            try:
                assert isinstance(parse(body), Body)
            except ServiceError as error:
                assert error.status == 400


def test_a_form_of_countless_fields_is_refused() -> None:
    body = b"--X\r\n\r\n\r\n" * 100_000 + b"--X--\r\n"
    with pytest.raises(Malformed, match="more than 16 fields"):
        parse_multipart(body, "multipart/form-data; boundary=X")


def wide(image: bytes, **options: Any) -> bytes:
    """A JSON body whose image is this text, as it stands."""
    return json.dumps({"flip": True, "image": "?", **options}).encode().replace(b"?", image)


LARGE = PHOTO * 256  # 1.25 MiB


@pytest.mark.parametrize(
    "spell",
    [
        base64.b64encode,
        lambda photo: json.dumps(base64.encodebytes(photo).decode()).encode()[1:-1],
        lambda photo: base64.b64encode(photo).replace(b"/", b"\\/").replace(b"+", b"\\u002B"),
        lambda photo: b"".join(b"\\u%04x" % letter for letter in base64.b64encode(photo)),
        base64.urlsafe_b64encode,
        lambda photo: base64.b64encode(photo).rstrip(b"="),
        lambda photo: base64.urlsafe_b64encode(photo).rstrip(b"="),
        lambda photo: b"data:image/png;base64," + base64.b64encode(photo),
        lambda photo: b"DATA:;charset=x;BASE64," + base64.encodebytes(photo).replace(b"\n", b"\\n"),
        lambda photo: b"data:image\\/png;base64," + base64.b64encode(photo).replace(b"/", b"\\/"),
    ],
)
@pytest.mark.parametrize("extra", range(3))
def test_a_large_json_body_is_the_same_as_a_small_one(spell: Callable[[bytes], bytes], extra: int) -> None:
    for photo in (PHOTO, LARGE + bytes(extra)):
        for body in (wide(spell(photo)), wide(spell(photo), boxes='"\\' * 100)):
            assert parse_json(body).photo == parse_json(codecs.BOM_UTF8 + body).photo == photo
            assert parse_json(body).options == tuple((k, v) for k, v in json.loads(body).items() if k != "image")


@pytest.mark.parametrize("place", range(-9, 9))
def test_escapes_are_read_wherever_a_piece_ends(place: int) -> None:
    text = bytearray(base64.b64encode(bytes(LARGE)))
    at = bodies._PIECE_BYTES + place
    text[at : at + 1] = b"\\u002b"
    assert parse_json(wide(bytes(text))).photo == base64.b64decode(text.replace(b"\\u002b", b"+"))


def test_of_large_json_only_the_image_may_be_large() -> None:
    sentence = r"bytes, too many are not the text of `image`; the limit is 131,072"
    text = base64.b64encode(LARGE)
    beside = bodies.MOST_JSON_BYTES - len(wide(b"", boxes=""))
    assert parse_json(wide(text, boxes="1" * beside)).photo == LARGE
    for body in (
        wide(text, boxes="1" * (beside + 1)),
        wide(text, boxes=[[]] * beside),
        wide(b"AAAA", boxes=[[]] * 10**6),
        wide(b"AAAA", boxes="1" * 10**6),
        wide(b"AAAA", boxes={"image": text.decode()}),
        b"[" * 10**6,
        wide(b'\\"' * 10**6),
    ):
        with pytest.raises(TooLarge, match=sentence):
            parse_json(body)


@pytest.mark.parametrize(
    "body",
    [
        wide(base64.b64encode(LARGE))[:-2],
        wide(base64.b64encode(LARGE) + b"\\"),
        wide(base64.b64encode(LARGE) + b"\xff"),
        wide(base64.b64encode(LARGE) + "é".encode()),
        wide(base64.b64encode(LARGE) + b"\\ud83d"),
        wide(base64.b64encode(LARGE) + b"\n"),
        wide(base64.b64encode(LARGE) + b"\\x"),
        wide(base64.b64encode(LARGE[:-1]) + base64.b64encode(LARGE)),
        wide(base64.b64encode(LARGE)) + b"}",
    ],
)
def test_large_json_that_is_broken_is_refused(body: bytes) -> None:
    with pytest.raises(Malformed, match=r"is not JSON|is not base64"):
        parse_json(body)


def test_deep_json_is_read_up_to_its_limit() -> None:
    def nested(lists: int) -> bytes:
        return b'{"image": "", "boxes": %b1%b}' % (b"[" * lists, b"]" * lists)

    lists = bodies.DEEPEST_JSON - 1  # and the object
    assert parse_json(nested(lists)).photo == b""
    with pytest.raises(Malformed, match="nested deeper than the limit of 200 levels"):
        parse_json(nested(lists + 1))


def test_no_call_of_the_json_parser_is_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each holds up all other threads, the event loop's too."""
    sizes: list[int] = []
    parse = bodies.pydantic_core.from_json
    monkeypatch.setattr(bodies.pydantic_core, "from_json", lambda text: sizes.append(len(text)) or parse(text))
    parse_json(wide(base64.b64encode(LARGE)))
    for hostile in (wide(b'\\"' * 10**6), wide(b"", boxes=[[]] * 10**6)):
        with pytest.raises(ServiceError):
            parse_json(hostile)
    assert len(sizes) > 4
    assert max(sizes) <= 2 * bodies.MOST_JSON_BYTES + 2


def test_all_but_small_bodies_are_parsed_off_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[int] = []
    monkeypatch.setattr(bodies, "parse_json", lambda body: threads.append(threading.get_ident()) or Body(body))
    asyncio.run(parse_body(b" " * 100_000, "application/json"))
    assert threads != [threading.get_ident()]


def peak_bytes(work: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (wide(b"AB " * 10**6), "application/json"),
        (wide(b"A\\n" * 10**6), "application/json"),
        (wide(base64.b64encode(LARGE * 2)), "application/json"),
        (form(image=LARGE * 2), FORM),
    ],
)
def test_parsing_takes_no_more_memory_than_it_is_counted_for(body: bytes, kind: str) -> None:
    parse = bodies._parser(kind)
    copies_of_a_piece = 6

    def read() -> None:
        with contextlib.suppress(Malformed):
            parse(body)

    assert peak_bytes(read) < (copies(kind) - 1) * len(body) + copies_of_a_piece * bodies._PIECE_BYTES
