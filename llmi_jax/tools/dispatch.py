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
from llmi_jax.services.faults import ServiceFault
from llmi_jax.services.journal import Entry, Journal
from llmi_jax.services.limits import Gate, Limit, Overdue
from llmi_jax.services.retry import Retries, Retry
from llmi_jax.services.sharing import Flights
from llmi_jax.tools.registry import Context, Registry, Tool, ToolFailure
from llmi_jax.tools.session import Session, SessionKey

# A tool that keeps its deadline says why it is late before the dispatcher ends it.
_MOMENT = 0.02


class Dispatcher:
  """Tools, their limits and the memory of what they said."""

  def __init__(
    self,
    registry: Registry,
    *,
    max_calls: int = 10,
    limits: Mapping[str, Limit] | None = None,
    default: Limit | None = None,
    retry: Retry = Retry(),
    seed: int = 0,
    cache: Cache | None = None,
    replay: bool = False,
    journal: Journal | None = None,
  ):
    """Makes a dispatcher.

    Args:
      registry: the tools.
      max_calls: further well-formed calls of one response are refused.
      limits: concurrency, rate and deadline by tool.
      default: the limit of tools without one.
      retry: how faults that may pass are repeated; the only layer that does.
      seed: of the waits between tries.
      cache: successful replies, by content.
      replay: what could be cached is taken from there or not at all: no tool of that kind is called.
      journal: final outcomes, by place in the run; replayed rather than called again.
    """
    self.registry = registry
    self.max_calls = max_calls
    chosen = {tool.spec.name: (limits or {}).get(tool.spec.name) or default or Limit() for tool in registry}
    self._gates = {name: Gate(limit) for name, limit in chosen.items()}
    self._retries = {name: Retries(retry, seed) for name in chosen}
    self._cache = cache
    self._replay = replay
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
    outcome = await self.call(tool, call.params, context, f'{call.tool}:{call.position}')
    if self._journal is not None:
      await self._journal.put(entry, outcome)
    return outcome

  async def call(
    self, tool: Tool, params: Mapping[str, str | int], context: Context, source: str
  ) -> ToolOutcome:
    """Carries out a call that belongs to no run; equal ones under way are shared.

    Args:
      tool: of the registry.
      params: as its spec has them.
      context: its deadline bounds the tool's own limit.
      source: what the pictures are named after.
    """
    content = identity(tool, params, context)
    outcome = await self._flights.share(content, lambda: self._serve(tool, params, context, content))
    # Whoever shares the work keeps what is its own.
    return dataclasses.replace(
      _label(outcome, source),
      seed=context.seed if tool.seeded else None,
      variant=context.variant,
      executed=outcome.executed or tuple(params.items()),
    )

  def gauges(self) -> dict[str, float]:
    """Numbers for metrics of every tool that calls out: its retries and what its provider says of itself."""
    found: dict[str, float] = {}
    for tool in self.registry:
      retries, provider = self._retries[tool.spec.name], tool.gauges()
      if provider or retries.made:
        own = {'retries': float(retries.made), 'retries_denied': float(retries.denied)}
        found |= {f'calls/{tool.spec.name}/{name}': value for name, value in (own | dict(provider)).items()}
    return found

  async def _serve(
    self, tool: Tool, params: Mapping[str, str | int], context: Context, content: str
  ) -> ToolOutcome:
    """From the cache or from the tool."""
    cache = self._cache if tool.cached else None
    kept = await asyncio.to_thread(cache.get, content) if cache is not None else None
    if isinstance(kept, ToolOutcome):
      return kept
    started = time.time()
    if self._replay and tool.cached:
      outcome = _unavailable(tool.spec.name, 'only what is cached is replayed, and this call is not')
    else:
      outcome = await self._attempt(tool, params, context, content)
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

  async def _attempt(
    self, tool: Tool, params: Mapping[str, str | int], context: Context, content: str
  ) -> ToolOutcome:
    """Calls the tool within its limits, again where that may help; whatever it raises becomes an outcome."""
    name = tool.spec.name
    gate = self._gates[name]
    tries = 0

    async def once(number: int) -> ToolOutcome:
      nonlocal tries
      tries = number
      if number > 1:
        await gate.rate.permit()
      return await tool.call(params, inside)

    try:
      async with gate.enter(context.deadline) as deadline:
        inside = dataclasses.replace(context, deadline=deadline - _MOMENT)
        outcome = await self._retries[name].run(once, key=content, until=inside.deadline)
    except ToolFailure as failure:
      outcome = ToolOutcome(failure.status, failure.fault, error=str(failure), executed=failure.executed)
    except ServiceFault as fault:
      outcome = _unavailable(name, f'{fault.cause}: {str(fault).rstrip(".")}')
    except Overdue:
      outcome = _unavailable(name, f'its deadline of {gate.limit.seconds:g} s passed')
    except asyncio.CancelledError:
      current = asyncio.current_task()
      if current is None or current.cancelling():
        raise
      outcome = _unavailable(name, 'it was cancelled from within')
    # The one broad catch: a tool may be anybody's code; its bugs neither end a run nor blame a policy.
    except Exception as error:  # noqa: BLE001
      outcome = _unavailable(name, f'{type(error).__name__}: {_first_line(error)}')
    return dataclasses.replace(outcome, attempts=max(1, tries))


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
    # Even what takes no seed may answer otherwise when it is asked anew.
    draw=[context.seed, context.variant] if tool.seeded else context.variant or None,
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
