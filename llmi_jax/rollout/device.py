"""The one thread of a process that traces, dispatches and fetches; asyncio stays in the main thread."""

import asyncio
import collections
import concurrent.futures
from collections.abc import AsyncIterator, Callable, Generator
from typing import Any, TypeVar

T = TypeVar('T')
_END: Any = object()


class Device:
  """Runs device work, one piece at a time. Streams take turns, item by item, while several run."""

  def __init__(self):
    self._thread = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix='device')
    self._submitted: collections.deque[concurrent.futures.Future[Any]] = collections.deque()

  async def run(self, work: Callable[..., T], *args: Any) -> T:
    """Awaits `work(*args)` on the device thread."""
    return await asyncio.wrap_future(self._submit(work, *args))

  async def stream(self, make: Callable[[], Generator[T, None, None]]) -> AsyncIterator[T]:
    """Yields what the generator yields on the device thread, as it comes; closing early stops it."""
    loop = asyncio.get_running_loop()
    items: asyncio.Queue[Any] = asyncio.Queue()
    stopped, generator = False, make()

    def turn() -> bool:
      """Items until somebody else's work waits; whether these were the last."""
      try:
        for item in generator:
          loop.call_soon_threadsafe(items.put_nowait, item)
          if stopped or self._is_awaited():
            return False
        return True
      finally:
        loop.call_soon_threadsafe(items.put_nowait, _END)

    work, over = None, False
    try:
      while not over:
        work = asyncio.wrap_future(self._submit(turn))
        while (item := await items.get()) is not _END:
          yield item
        over = await work
    finally:
      stopped = True
      # The thread's present piece ends before the loop may close; a failure of it was raised above.
      if work is not None:
        await asyncio.wait([work])
      await self.run(generator.close)

  def close(self) -> None:
    """Waits for the work under way."""
    self._thread.shutdown(wait=True)

  def _submit(self, work: Callable[..., T], *args: Any) -> concurrent.futures.Future[T]:
    future = self._thread.submit(work, *args)
    self._submitted.append(future)
    return future

  def _is_awaited(self) -> bool:
    """Whether work waits behind what the thread does now; asked on the thread."""
    while self._submitted and (self._submitted[0].running() or self._submitted[0].done()):
      self._submitted.popleft()
    return bool(self._submitted)
