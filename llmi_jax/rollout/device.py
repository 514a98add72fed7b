"""The one thread of a process that traces, dispatches and fetches; asyncio stays in the main thread."""

import asyncio
import collections
import concurrent.futures
from collections.abc import AsyncIterator, Callable, Generator
from typing import Any, NamedTuple, TypeVar

T = TypeVar('T')


class _End(NamedTuple):
  """Stands behind a stream's last item, with what kept it from having more."""

  failure: BaseException | None


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

    def turn() -> None:
      """Items until somebody else's work waits; then it is queued behind that."""
      failure = None
      try:
        for item in () if stopped else generator:
          loop.call_soon_threadsafe(items.put_nowait, item)
          if stopped:
            break
          if self._is_awaited():
            self._submit(turn)
            return
      except BaseException as error:  # noqa: BLE001  raised again where the stream is read
        failure = error
      loop.call_soon_threadsafe(items.put_nowait, _End(failure))

    self._submit(turn)
    end = None
    try:
      while not isinstance(item := await items.get(), _End):
        yield item
      end = item
    finally:
      stopped = True
      # The thread's present piece ends before the loop may close.
      while end is None:
        item = await items.get()
        end = item if isinstance(item, _End) else None
      await self.run(generator.close)
    if end.failure is not None:
      raise end.failure

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
