"""The one thread of a process that traces, dispatches and fetches; asyncio stays in the main thread."""

import asyncio
import concurrent.futures
import queue
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, TypeVar

T = TypeVar('T')
_END: Any = object()


class Device:
  """Runs device work in order, one piece at a time."""

  def __init__(self):
    self._thread = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix='device')
    self._aside: queue.SimpleQueue[tuple[concurrent.futures.Future[Any], Callable[[], Any]]] = (
      queue.SimpleQueue()
    )

  async def run(self, work: Callable[..., T], *args: Any) -> T:
    """Awaits `work(*args)` on the device thread."""
    return await asyncio.wrap_future(self._thread.submit(work, *args))

  async def aside(self, work: Callable[[], T]) -> T:
    """Awaits `work()` on the device thread, between two items of a stream where one is under way."""
    future: concurrent.futures.Future[T] = concurrent.futures.Future()
    self._aside.put((future, work))
    self._thread.submit(self._catch_up)
    return await asyncio.wrap_future(future)

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
          self._catch_up()
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

  def _catch_up(self) -> None:
    """Does what was put aside, on the device thread."""
    while not self._aside.empty():
      future, work = self._aside.get()
      if not future.set_running_or_notify_cancel():
        continue
      try:
        future.set_result(work())
      # Whoever awaits it hears of it; a stream goes on.
      except BaseException as error:  # noqa: BLE001
        future.set_exception(error)

  def close(self) -> None:
    """Waits for the work under way."""
    self._thread.shutdown(wait=True)
