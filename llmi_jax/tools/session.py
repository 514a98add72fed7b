"""The calls of one response: started as they are written, ordered where one needs another's picture."""

import asyncio
import dataclasses
import hashlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Literal

from llmi_jax.core.document import Malformed, Segment, ToolCall
from llmi_jax.core.image import Image
from llmi_jax.core.outcome import ToolOutcome
from llmi_jax.core.task import Task
from llmi_jax.core.toolspec import ToolSpec
from llmi_jax.tools.registry import Registry

Run = Callable[[ToolCall, Mapping[int, Image]], Awaitable[ToolOutcome]]


@dataclasses.dataclass(frozen=True)
class SessionKey:
  """A response's place in the run.

  Attributes:
    seed: the run's.
    step: training step, or the evaluated one.
    task: the task's id.
    sample: index among the task's samples in this step.
  """

  seed: int
  step: int
  task: str
  sample: int

  def seed_of(self, call: int, variant: int) -> int:
    """The seed of one call, in [0, 2³¹); batch, slot, host count and clock do not enter it."""
    task = int.from_bytes(hashlib.sha256(self.task.encode()).digest()[:4], 'big')
    parts = (self.seed, 'tool', self.step, task, self.sample, call, variant)
    digest = hashlib.sha256('/'.join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:4], 'big') >> 1


class Session:
  """One response's calls. Made by `Dispatcher.open`."""

  def __init__(self, task: Task, registry: Registry, max_calls: int, run: Run):
    self._task = task
    self._registry = registry
    self._max_calls = max_calls
    self._run_call = run
    self._inputs = dict(enumerate(task.input_images))
    self._calls: dict[int, asyncio.Task[ToolOutcome]] = {}
    self._broken: dict[int, str] = {}

  def submit(self, segment: Segment):
    """Takes the response's next segment; a tool call starts at once, in the running event loop."""
    if isinstance(segment, Malformed) and segment.position is not None:
      self._broken[segment.position] = segment.detail
    if isinstance(segment, ToolCall):
      refusal = self._refuse(segment)
      work = _done(refusal) if refusal else self._run(segment)
      self._calls[segment.position] = asyncio.ensure_future(work)

  async def finish(self) -> dict[int, ToolOutcome]:
    """Waits for all calls; image position → outcome, in order. Cancelling this cancels them.

    Raises:
      StorageError: the cache or the journal cannot be written.
      DataError: the journal cannot be read.
    """
    try:
      outcomes = await asyncio.gather(*self._calls.values())
    except BaseException:
      await self.cancel()
      raise
    return dict(zip(self._calls, outcomes))

  async def cancel(self):
    """Stops every call that still runs and waits until they have stopped."""
    for work in self._calls.values():
      work.cancel()
    await asyncio.gather(*self._calls.values(), return_exceptions=True)

  def _refuse(self, call: ToolCall) -> ToolOutcome | None:
    """The outcome of a call that must not run, or None."""
    registry = self._registry
    offered = [
      s.name for s in registry.specs if not self._task.offered_tools or s.name in self._task.offered_tools
    ]
    if call.tool not in offered:
      names = ', '.join(offered) or 'none'
      return _no(call, 'not_offered', f'The tool {call.tool!r} is not offered here; offered: {names}.')
    if len(self._calls) >= self._max_calls:
      return _no(call, 'invalid', f'A response may make {self._max_calls} calls; this is one more.')
    return None

  async def _run(self, call: ToolCall) -> ToolOutcome:
    tool = self._registry.get(call.tool)
    assert tool is not None, call.tool
    images: dict[int, Image] = {}
    for position in _named(tool.spec, call.params):
      found = await self._picture(call, position)
      if isinstance(found, ToolOutcome):
        return found
      images[position] = found
    return await self._run_call(call, images)

  async def _picture(self, call: ToolCall, position: int) -> Image | ToolOutcome:
    """The picture at a position that `call` names, or the outcome that its lack means for `call`."""
    if position in self._inputs:
      return self._inputs[position]
    if position in self._broken:
      return _no(call, 'failed', f'There is no picture {position}: its tag was malformed.')
    if position not in self._calls or position >= call.position:
      return _no(call, 'invalid', f'There is no picture {position} before this call.')
    # Others may wait for the same picture; only the session cancels the work itself.
    source = await asyncio.shield(self._calls[position])
    if source.image is not None:
      return source.image
    if source.fault == 'environment':
      words = f'Picture {position} could not be served, so it cannot be used: {source.error}'
      return ToolOutcome(
        'unavailable', 'environment', tool=call.tool, executed=tuple(call.params.items()), error=words
      )
    return _no(call, 'failed', f'There is no picture {position}: {source.error}')


def _named(spec: ToolSpec, params: Mapping[str, str | int]) -> list[int]:
  """The image positions that a call's parameters name."""
  return [int(params[p.name]) for p in spec.parameters if p.type == 'image' and p.name in params]


def _no(call: ToolCall, status: Literal['invalid', 'failed', 'not_offered'], words: str) -> ToolOutcome:
  """An outcome that is the policy's doing."""
  return ToolOutcome(status, 'policy', tool=call.tool, executed=tuple(call.params.items()), error=words)


async def _done(outcome: ToolOutcome) -> ToolOutcome:
  return outcome
