"""Many requests on one engine: whoever asks joins the batch that is under way."""

import asyncio
import collections
import dataclasses
import hashlib
import queue
from collections.abc import AsyncIterator, Callable, Generator
from typing import Any

import numpy as np

from llmi_jax.core.prompt import Prompt
from llmi_jax.rollout.device import Device
from llmi_jax.rollout.sight import Sight
from llmi_jax.sampling.engine import Engine
from llmi_jax.sampling.keys import Stream, row_keys
from llmi_jax.sampling.request import Sample

MOST_WAITING = 256
MOST_ENGINES = 4
MOST_BYTES = 4 << 30  # of pictures that wait


class Full(Exception):
  """More waits than is let wait, or more temperatures are asked for than are compiled."""


@dataclasses.dataclass(eq=False)
class Job:
  """One reply that is wanted, or several to one prompt, which is then read once.

  Attributes:
    prompt: what is read.
    seed: equal ones give equal replies to equal prompts.
    limit: most tokens of the reply.
    temperature: of sampling.
    samples: how many replies, at most the engine's per prompt.
    first: number of the first of them, which tells replies of one seed apart.
    events: gets the samples as they end, or what went wrong; of a single reply its tokens so far, [t] int32,
      now and then before that.
    dropped: set where nobody waits any more.
  """

  prompt: Prompt
  seed: int
  limit: int
  temperature: float
  samples: int = 1
  first: int = 0
  events: asyncio.Queue[np.ndarray | Sample | BaseException] = dataclasses.field(
    default_factory=asyncio.Queue
  )
  dropped: bool = False

  async def last(self) -> Sample:
    """Waits for the end of the reply; the job is dropped where the wait is given up.

    Raises:
      Exception: whatever kept the reply from being made.
    """
    samples = [sample async for sample in self.each()]
    return samples[0]

  async def each(self) -> AsyncIterator[Sample]:
    """The samples in the order in which they end; likewise."""
    left = self.samples
    try:
      while left:
        event = await self.events.get()
        if isinstance(event, BaseException):
          raise event
        if isinstance(event, Sample):
          left -= 1
          yield event
    finally:
      self.dropped = True


Events = list[tuple[Job, np.ndarray | Sample]]


class Batcher:
  """Runs jobs. One engine per temperature, made when first asked for, since a temperature is compiled in.

  Attributes:
    sight: makes requests, and counts the pictures in them.
  """

  def __init__(
    self,
    device: Device,
    make: Callable[[float], Engine],
    params: Any,
    sight: Sight,
    stream: Stream = 'serve',
  ):
    """Makes one.

    Args:
      device: the thread that all of it runs on.
      make: builds an engine for a temperature.
      params: what it decodes with.
      sight: of the policy.
      stream: of random keys.
    """
    self.sight = sight
    self._device, self._make, self._params = device, make, params
    self._stream: Stream = stream
    self._engines: dict[float, Engine] = {}
    self._waiting: collections.deque[Job] = collections.deque()
    self._joining: queue.SimpleQueue[Job] = queue.SimpleQueue()
    self._unseen: set[Job] = set()
    self._temperature: float | None = None
    self._called = asyncio.Event()

  def submit(self, job: Job) -> None:
    """Queues a job.

    Raises:
      Full: it must come again later.
    """
    if len(self._waiting) + self._joining.qsize() >= MOST_WAITING:
      raise Full(f'{MOST_WAITING} requests wait already; try again later.')
    if job.prompt.vision and sum(map(_bytes, (job, *tuple(self._unseen)))) > MOST_BYTES:
      raise Full('Too many pictures wait already; try again later.')
    if job.temperature not in self._engines and len(self._engines) >= MOST_ENGINES:
      served = ', '.join(f'{t:g}' for t in sorted(self._engines))
      raise Full(f'The temperatures {served} are served by now and no further one; choose one of these.')
    if job.prompt.vision:
      self._unseen.add(job)
    # Jobs of another temperature wait for the batch to end, and then nobody overtakes them.
    if job.temperature == self._temperature and not self._waiting:
      self._joining.put(job)
    else:
      self._waiting.append(job)
    self._called.set()

  async def run(self) -> None:
    """Serves until it is cancelled."""
    while True:
      await self._called.wait()
      self._called.clear()
      while self._waiting:
        await self._batch()

  async def _batch(self) -> None:
    """Runs the first waiting job, all others of its temperature, and those who join."""
    self._temperature = temperature = self._waiting[0].temperature
    mine = [job for job in self._waiting if job.temperature == temperature]
    self._waiting = collections.deque(job for job in self._waiting if job.temperature != temperature)
    running: dict[int, Job] = {}
    for job in mine:
      self._joining.put(job)
    try:
      engine = await self._device.run(self._engine, temperature)
    except Exception as error:  # noqa: BLE001  all of this temperature wanted it
      self._temperature = None
      while not self._joining.empty():
        self._joining.get().events.put_nowait(error)
      return
    try:
      async for events in self._device.stream(lambda: self._decode(engine, running)):
        for job, event in events:
          job.events.put_nowait(event)
    except Exception as error:  # noqa: BLE001  whatever it is, those who wait must hear of it
      for job in running.values():
        job.events.put_nowait(error)
    finally:
      self._temperature = None
      # Who joined as the batch ended is first in the next one.
      while not self._joining.empty():
        self._waiting.appendleft(self._joining.get())

  def _engine(self, temperature: float) -> Engine:
    if temperature not in self._engines:
      self._engines[temperature] = self._make(temperature)
    return self._engines[temperature]

  def _decode(self, engine: Engine, running: dict[int, Job]) -> Generator[Events, None, None]:
    """On the device thread, look by look: what each job has so far, and what has ended."""
    number, so_far = 0, collections.defaultdict[int, list[np.ndarray]](list)
    left = collections.Counter[int]()  # samples of each job that have not ended
    try:
      while True:
        # No more than soon have a row: features of pictures take room on the device.
        while len(running) < 2 * engine.config.rows and not self._joining.empty():
          job, number = self._joining.get(), number + 1
          running[number], left[number] = job, job.samples
          self._unseen.discard(job)
          keys = _keys(job, self._stream)
          engine.submit(self.sight.request(self._params, number, job.prompt, keys, job.limit))
        for id in [id for id, job in running.items() if job.dropped]:
          del running[id]
          so_far.pop(id, None)
          engine.cancel(id)
        if not engine.busy:
          return
        events: Events = []
        for sample in engine.step(self._params):
          assert isinstance(sample.id, int)
          so_far.pop(sample.id, None)
          events.append((running[sample.id], sample))
          left[sample.id] -= 1
          if not left[sample.id]:
            del running[sample.id]
        for piece in engine.pieces:
          assert isinstance(piece.id, int)
          if running[piece.id].samples > 1:
            continue
          so_far[piece.id].append(piece.tokens)
          events.append((running[piece.id], np.concatenate(so_far[piece.id])))
        yield events
    finally:
      if engine.busy:
        engine.cancel()


def _bytes(job: Job) -> int:
  return sum(picture.patches.nbytes for picture in job.prompt.vision)


def _keys(job: Job, stream: Stream):
  """[n] keys of a job: its seed, its prompt and the numbers of its replies, nothing of who else is there."""
  seen = ''.join(job.prompt.vision[i].sha256 for i in job.prompt.images)
  digest = hashlib.sha256(job.prompt.tokens.tobytes() + seen.encode()).digest()
  word = int.from_bytes(digest[:4], 'big')
  numbers = np.arange(job.first, job.first + job.samples, dtype=np.uint32)
  return row_keys(job.seed, stream, 0, np.full(job.samples, word, np.uint32), numbers)
