"""Photos that keep coming while something else is looked at."""

import asyncio
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import httpx


@contextmanager
def photos(url: str, photo: bytes, per_second: float, box: str = "60,0,340,512") -> Iterator[Counter[int]]:
    """Post a photo at a steady rate, whether or not earlier ones are answered; counts answers by status, 0 for none."""
    statuses: Counter[int] = Counter()
    stop = threading.Event()
    thread = threading.Thread(
        target=lambda: asyncio.run(_post(f"{url}/pose?boxes={box}", photo, per_second, statuses, stop))
    )
    thread.start()
    try:
        yield statuses
    finally:
        stop.set()
        thread.join()


async def _post(url: str, photo: bytes, per_second: float, statuses: Counter[int], stop: threading.Event) -> None:
    under_way: set[asyncio.Task[None]] = set()
    async with httpx.AsyncClient(timeout=60, limits=httpx.Limits(max_connections=None)) as client:

        async def post() -> None:
            try:
                statuses[(await client.post(url, content=photo)).status_code] += 1
            except httpx.TransportError:
                statuses[0] += 1

        while not stop.is_set():
            task = asyncio.create_task(post())
            under_way.add(task)
            task.add_done_callback(under_way.discard)
            await asyncio.sleep(1 / per_second)
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
