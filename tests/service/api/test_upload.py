import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Any

import pytest
from starlette.types import Message

from service.api.upload import UploadBudget, read_body, while_connected
from service.errors import ClientGone, Overloaded, SlowBody, TooLarge
from tests.service.api.test_payload import peak_bytes


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
    counts: list[int] = []
    receive = channel(chunk(b"ab", more=True), chunk(b"c"))
    asyncio.run(read_body(receive, None, 3, 20, counts.append))
    assert counts == [2, 1]


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


@pytest.mark.parametrize("length", ["x", "-1", ""])
def test_a_length_that_is_none_is_not_gone_by(length: str) -> None:
    assert asyncio.run(read_body(channel(chunk(b"abc")), length, 3, 20, ignore)) == b"abc"


def test_work_is_done_while_the_client_is_there_and_nobody_listens_for_it_afterwards() -> None:
    async def work() -> int:
        return 3

    async def main() -> int:
        result = await while_connected(channel(), work())
        await asyncio.sleep(0)
        assert len(asyncio.all_tasks()) == 1
        return result

    assert asyncio.run(main()) == 3


def test_who_is_cancelled_by_the_server_has_not_hung_up() -> None:
    async def main() -> None:
        waiting = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(while_connected(channel(), asyncio.wait_for(waiting, None)))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())


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


def test_a_body_is_read_without_a_second_copy() -> None:
    size = 2**24
    chunks = [chunk(bytes(2**16), more=index < 255) for index in range(256)]

    async def read() -> int:
        reading = read_body(channel(*chunks), None, size, 20, ignore)
        return peak_bytes(lambda: run_to_its_end(reading))

    assert asyncio.run(read()) < 1.5 * size


def run_to_its_end(work: Coroutine[Any, Any, object]) -> None:
    with contextlib.suppress(StopIteration):
        work.send(None)
        pytest.fail("it waits")


def test_uploads_have_so_many_bytes_together_and_one_alone_any_number() -> None:
    uploads = UploadBudget(10)
    with uploads.hold() as take:
        take(8)
        take(8)
        sentence = "the bodies of other requests under way hold 16 bytes; with this one they would hold more than 10"
        with uploads.hold() as take_too, pytest.raises(Overloaded, match=sentence) as refusal:
            take_too(1)
        assert refusal.value.retry_after_seconds == 1
    with uploads.hold() as take:
        take(4)
        with uploads.hold() as take_too:
            take_too(6)
            with pytest.raises(Overloaded):
                take_too(1)
        take(6)
