"""What a tool is, and the list of those that a run offers."""

import dataclasses
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Literal

from llmi_jax.core.errors import ConfigError
from llmi_jax.core.image import Image
from llmi_jax.core.outcome import Candidate, ToolOutcome
from llmi_jax.core.toolspec import ToolSpec

Params = Mapping[str, str | int]


@dataclasses.dataclass(frozen=True)
class Context:
  """What a tool is told besides its parameters.

  Attributes:
    seed: in [0, 2³¹); equal for equal (run seed, step, task, sample, call, variant).
    variant: which of several draws for equal parameters.
    candidates: how many pictures are wanted; a tool may give fewer.
    deadline: reading of `time.monotonic` at which the call is cancelled.
    images: the pictures at the positions that the call names.
  """

  seed: int = 0
  variant: int = 0
  candidates: int = 1
  deadline: float = float('inf')
  images: Mapping[int, Image] = dataclasses.field(default_factory=dict)


class ToolFailure(Exception):
  """A tool's own statement that it gives no picture, and whose doing that is.

  Attributes:
    fault: `policy` or `environment`.
    status: as in `ToolOutcome`.
    executed: the parameters as far as they were executed.
  """

  def __init__(
    self,
    error: str,
    fault: Literal['policy', 'environment'],
    status: Literal['invalid', 'failed', 'unavailable'] | None = None,
    executed: tuple[tuple[str, str | int | float], ...] = (),
  ):
    super().__init__(error)
    self.fault: Literal['policy', 'environment'] = fault
    self.status: Literal['invalid', 'failed', 'unavailable'] = status or (
      'failed' if fault == 'policy' else 'unavailable'
    )
    self.executed = executed


@dataclasses.dataclass(frozen=True)
class Tool:
  """One tool.

  Attributes:
    spec: what prompts and parsers are told.
    call: does the work; raises `ToolFailure` or, where trying again may help, `ServiceFault`, or returns an
      outcome. The dispatcher fills in tool, provider, model, seed, variant, times and, where the tool leaves
      it empty, `executed`.
    provider: what serves it; part of its identity in caches.
    model: the model and settings behind it; part of its identity in caches.
    seeded: whether the result depends on the seed and variant.
    cached: whether a successful reply is worth keeping on disk; false for what is cheaper to do again.
    gauges: numbers about its provider, for metrics.
  """

  spec: ToolSpec
  call: Callable[[Params, Context], Awaitable[ToolOutcome]]
  provider: str = 'builtin'
  model: str = ''
  seeded: bool = False
  cached: bool = True
  gauges: Callable[[], Mapping[str, float]] = dict


class Registry:
  """The tools of a run, in the order in which prompts list them."""

  def __init__(self, tools: Sequence[Tool]):
    names = [tool.spec.name for tool in tools]
    for name in names:
      if names.count(name) > 1:
        raise ConfigError(f'Two tools are named {name!r}; rename or remove one.')
    self._tools = {tool.spec.name: tool for tool in tools}

  @property
  def specs(self) -> tuple[ToolSpec, ...]:
    return tuple(tool.spec for tool in self)

  def get(self, name: str) -> Tool | None:
    return self._tools.get(name)

  def __iter__(self) -> Iterator[Tool]:
    return iter(self._tools.values())

  def __len__(self) -> int:
    return len(self._tools)


def success(*candidates: Candidate, **fields) -> ToolOutcome:
  """An outcome with pictures, best first."""
  return ToolOutcome('ok', 'none', candidates, **fields)
