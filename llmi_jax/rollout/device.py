"""The one thread of a process that traces, dispatches and fetches; asyncio stays in the main thread."""

import asyncio
import concurrent.futures
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, TypeVar

T = TypeVar('T')
_END: Any = object()


class Device:
  """Runs device work in order, one piece at a time."""

  def __init__(self):
    self._thread = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix='device')

  async def run(self, work: Callable[..., T], *args: Any) -> T:
    """Awaits `work(*args)` on the device thread."""
    return await asyncio.wrap_future(self._thread.submit(work, *args))

  async def stream(self, make: Callable[[], Iterator[T]]) -> AsyncIterator[T]:
    """Yields what the iterator yields on the device thread, as it comes; closing early stops it."""
    loop = asyncio.get_running_loop()
    items: asyncio.Queue[Any] = asyncio.Queue()
    stopped = False

    def pump() -> None:
      try:
        for item in make():
          loop.call_soon_threadsafe(items.put_nowait, item)
          if stopped:
            return
      finally:
        loop.call_soon_threadsafe(items.put_nowait, _END)

    work = asyncio.wrap_future(self._thread.submit(pump))
    try:
      while (item := await items.get()) is not _END:
        yield item
      await work
    finally:
      stopped = True
      # The thread's present piece ends before the loop may close; a failure of it was raised above.
      await asyncio.wait([work])

  def close(self) -> None:
    """Waits for the work under way."""
    self._thread.shutdown(wait=True)
