"""Runs the tool calls of responses: concurrently, in limits, each ending in an outcome.

    dispatcher = Dispatcher(registry, limits={'code': Limit(2, 20)})
    session = dispatcher.open(task, SessionKey(seed, step, task.id, sample))
    for segment in stream:
      session.submit(segment)          # starts the call at once
    outcomes = await session.finish()  # image position → ToolOutcome

Whatever a tool does, its outcome says whose doing it was; no exception of a tool leaves `finish`.
"""

import asyncio
import dataclasses
import functools
import time
from collections.abc import Mapping

from llmi_jax.core.document import ToolCall
from llmi_jax.core.image import Image
from llmi_jax.core.outcome import ToolOutcome
from llmi_jax.core.task import Task
from llmi_jax.services.cache import Cache, content_key
from llmi_jax.services.journal import Entry, Journal
from llmi_jax.services.limits import Gate, Limit, Overdue
from llmi_jax.services.sharing import Flights
from llmi_jax.tools.registry import Context, Registry, Tool, ToolFailure
from llmi_jax.tools.session import Session, SessionKey


class Dispatcher:
  """Tools, their limits and the memory of what they said."""

  def __init__(
    self,
    registry: Registry,
    *,
    max_calls: int = 10,
    limits: Mapping[str, Limit] | None = None,
    default: Limit | None = None,
    cache: Cache | None = None,
    journal: Journal | None = None,
  ):
    """Makes a dispatcher.

    Args:
      registry: the tools.
      max_calls: further well-formed calls of one response are refused.
      limits: concurrency and deadline by tool.
      default: the limit of tools without one.
      cache: successful replies, by content.
      journal: final outcomes, by place in the run; replayed rather than called again.
    """
    self.registry = registry
    self.max_calls = max_calls
    self._gates = {
      tool.spec.name: Gate((limits or {}).get(tool.spec.name) or default or Limit()) for tool in registry
    }
    self._cache = cache
    self._journal = journal
    self._flights: Flights[ToolOutcome] = Flights()

  def open(self, task: Task, key: SessionKey, *, candidates: int = 1, variant: int = 0) -> Session:
    """Starts on one response to `task`.

    Args:
      task: its offered tools and input images count.
      key: the response's place in the run.
      candidates: pictures wanted per call.
      variant: which of several draws for equal parameters.
    """
    run = functools.partial(self.run, key=key, candidates=candidates, variant=variant)
    return Session(task, self.registry, self.max_calls, run)

  async def run(
    self, call: ToolCall, images: Mapping[int, Image], key: SessionKey, candidates: int, variant: int
  ) -> ToolOutcome:
    """Carries out one call that the session found fit to run, or replays its outcome."""
    entry = Entry('tool', key.step, key.task, key.sample, call.position, variant)
    kept = self._journal.get(entry) if self._journal is not None else None
    if isinstance(kept, ToolOutcome):
      return kept
    tool = self.registry.get(call.tool)
    assert tool is not None, call.tool
    context = Context(key.seed_of(call.position, variant), variant, candidates, images=images)
    content = identity(tool, call.params, context)
    outcome = await self._flights.share(content, lambda: self._serve(tool, call, context, content))
    # Whoever shares the work keeps what is its own.
    outcome = dataclasses.replace(
      _label(outcome, f'{call.tool}:{call.position}'),
      seed=context.seed if tool.seeded else None,
      variant=variant,
      executed=outcome.executed or tuple(call.params.items()),
    )
    if self._journal is not None:
      await self._journal.put(entry, outcome)
    return outcome

  async def _serve(self, tool: Tool, call: ToolCall, context: Context, content: str) -> ToolOutcome:
    """From the cache or from the tool."""
    cache = self._cache if tool.cached else None
    kept = cache.get(content) if cache is not None else None
    if isinstance(kept, ToolOutcome):
      return kept
    started = time.time()
    outcome = await self._attempt(tool, call, context)
    outcome = dataclasses.replace(
      outcome,
      tool=tool.spec.name,
      provider=outcome.provider or tool.provider,
      model=outcome.model or tool.model,
      started=started,
      ended=time.time(),
    )
    if cache is not None and outcome.status == 'ok':
      await asyncio.to_thread(cache.put, content, outcome)
    return outcome

  async def _attempt(self, tool: Tool, call: ToolCall, context: Context) -> ToolOutcome:
    """Calls the tool within its limits; whatever it raises becomes an outcome."""
    name = tool.spec.name
    gate = self._gates[name]
    try:
      async with gate.enter() as deadline:
        return await tool.call(call.params, dataclasses.replace(context, deadline=deadline))
    except ToolFailure as failure:
      return ToolOutcome(failure.status, failure.fault, error=str(failure), executed=failure.executed)
    except Overdue:
      return _unavailable(name, f'its deadline of {gate.limit.seconds:g} s passed')
    except asyncio.CancelledError:
      current = asyncio.current_task()
      if current is None or current.cancelling():
        raise
      return _unavailable(name, 'it was cancelled from within')
    # The one broad catch: a tool may be anybody's code; its bugs neither end a run nor blame a policy.
    except Exception as error:  # noqa: BLE001
      return _unavailable(name, f'{type(error).__name__}: {_first_line(error)}')


def identity(tool: Tool, params: Mapping[str, str | int], context: Context) -> str:
  """What a reply depends on, as a hex digest: calls of equal identity may share a reply."""
  names = [p.name for p in tool.spec.parameters if p.type == 'image' and p.name in params]
  return content_key(
    'tool',
    tool=[tool.spec.name, tool.provider, tool.model],
    params={name: value for name, value in params.items() if name not in names},
    # A picture counts, not the position at which this response has it.
    images={name: context.images[int(params[name])].sha256 for name in names},
    candidates=context.candidates,
    draw=[context.seed, context.variant] if tool.seeded else None,
  )


def _label(outcome: ToolOutcome, source: str) -> ToolOutcome:
  """Names each picture after the call it stands for."""
  if all(candidate.image.source == source for candidate in outcome.candidates):
    return outcome
  candidates = tuple(
    dataclasses.replace(c, image=dataclasses.replace(c.image, source=source)) for c in outcome.candidates
  )
  return dataclasses.replace(outcome, candidates=candidates)


def _unavailable(name: str, why: str) -> ToolOutcome:
  return ToolOutcome('unavailable', 'environment', error=f'{name} could not be served ({why}).')


def _first_line(error: Exception) -> str:
  return str(error).splitlines()[0][:300] if str(error) else 'no message'
