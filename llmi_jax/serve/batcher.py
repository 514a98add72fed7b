"""Many requests on one engine: whoever asks joins the batch that is under way."""

import asyncio
import collections
import dataclasses
import hashlib
import queue
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from llmi_jax.rollout.device import Device
from llmi_jax.sampling.engine import Engine, Request, Sample
from llmi_jax.sampling.keys import row_keys

Event = np.ndarray | Sample | BaseException
MOST_WAITING = 256
MOST_ENGINES = 4


class Full(Exception):
  """More requests wait than are let wait, or more temperatures are asked for than are compiled."""


@dataclasses.dataclass(eq=False)
class Job:
  """One reply that is wanted.

  Attributes:
    tokens: [T] int32, the prompt.
    seed: equal ones give equal replies to equal prompts.
    limit: most tokens of the reply.
    temperature: of sampling.
    events: gets the reply's tokens so far, [t] int32, now and then; at the end the sample, or what went
      wrong.
  """

  tokens: np.ndarray
  seed: int
  limit: int
  temperature: float
  events: asyncio.Queue[np.ndarray | Sample | BaseException] = dataclasses.field(
    default_factory=asyncio.Queue
  )


class Batcher:
  """Runs jobs. One engine per temperature, made when first asked for, since a temperature is compiled in."""

  def __init__(self, device: Device, make: Callable[[float], Engine], params: Any):
    """`make` builds an engine of one row per prompt for a temperature; `params` are what it decodes with."""
    self._device, self._make, self._params = device, make, params
    self._engines: dict[float, Engine] = {}
    self._waiting: collections.deque[Job] = collections.deque()
    self._joining: queue.SimpleQueue[Job] = queue.SimpleQueue()
    self._temperature: float | None = None
    self._called = asyncio.Event()

  def submit(self, job: Job) -> None:
    """Queues a job.

    Raises:
      Full: it must come again later.
    """
    if len(self._waiting) + self._joining.qsize() >= MOST_WAITING:
      raise Full(f'{MOST_WAITING} requests wait already; try again later.')
    if job.temperature not in self._engines and len(self._engines) >= MOST_ENGINES:
      served = ', '.join(f'{t:g}' for t in sorted(self._engines))
      raise Full(f'The temperatures {served} are served by now and no further one; choose one of these.')
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
      async for job, event in self._device.stream(lambda: self._decode(temperature, running)):
        job.events.put_nowait(event)
    except Exception as error:  # noqa: BLE001  whatever it is, those who wait must hear of it
      for job in running.values():
        job.events.put_nowait(error)
    finally:
      self._temperature = None
      # Who joined as the batch ended is first in the next one.
      while not self._joining.empty():
        self._waiting.appendleft(self._joining.get())

  def _decode(self, temperature: float, running: dict[int, Job]) -> Iterator[tuple[Job, np.ndarray | Sample]]:
    """On the device thread: what each job has so far, and what has ended."""
    engine = self._engines.get(temperature) or self._make(temperature)
    self._engines[temperature] = engine
    number = 0
    try:
      while True:
        while not self._joining.empty():
          job, number = self._joining.get(), number + 1
          running[number] = job
          engine.submit(Request(number, job.tokens, _key(job), job.limit))
        if not engine.busy:
          return
        for sample in engine.step(self._params):
          assert isinstance(sample.id, int)
          yield running.pop(sample.id), sample
        for number_, tokens in engine.progress().items():
          assert isinstance(number_, int)
          yield running[number_], tokens
    finally:
      if engine.busy:
        engine.cancel()


def _key(job: Job):
  """[1] key of a job: its seed and its prompt, nothing of who else is in the batch."""
  word = int.from_bytes(hashlib.sha256(job.tokens.tobytes()).digest()[:4], 'big')
  return row_keys(job.seed, 'serve', 0, np.array([word], np.uint32), np.array([0], np.uint32))
