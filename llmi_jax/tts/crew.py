"""What stages are given: everybody who works on one task."""

import dataclasses
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

from llmi_jax.core.answer import Answer
from llmi_jax.core.document import ToolCall
from llmi_jax.core.image import Image
from llmi_jax.core.outcome import ToolOutcome
from llmi_jax.core.task import Task
from llmi_jax.core.toolspec import ToolSpec
from llmi_jax.tts.ledger import Ledger, Spent
from llmi_jax.tts.selectors import Selector

Heard = Callable[[int, Answer], None]


class Generate(Protocol):
  """Answers a task; a plain policy, a remote one and a scaled one do."""

  def __call__(self, task: Task, n: int, seed: int, heard: Heard | None = None, /) -> Awaitable[list[Answer]]:
    """`n` answers in the order of their numbers; `heard` gets number and answer of each as it ends."""
    ...


class Run(Protocol):
  """Carries out one tool call of one sample."""

  def __call__(
    self, call: ToolCall, images: Mapping[int, Image], sample: int, variant: int, candidates: int
  ) -> Awaitable[ToolOutcome]:
    """The outcome, whatever the tool does.

    Args:
      call: the call.
      images: the pictures at the positions that it names.
      sample: whose call it is.
      variant: which of several draws; one number per sample, position and draw.
      candidates: pictures wanted.
    """
    ...


Polisher = Callable[[Task, Answer], Awaitable[str]]
Repairer = Callable[[Task, ToolCall, str], Awaitable[str]]


@dataclasses.dataclass(frozen=True)
class Crew:
  """Everybody.

  Attributes:
    generate: writes answers.
    selector: prefers.
    run: runs tools.
    specs: of the tools.
    draws: names of the tools for which another variant may be another picture.
    ledger: what they spend.
    polisher: an answer → the reply with its text rewritten; raises ServiceFault.
    repairer: a call whose code raised, and the error → the reply with the code mended; likewise.
  """

  generate: Generate
  selector: Selector
  run: Run
  specs: Sequence[ToolSpec]
  draws: frozenset[str]
  ledger: Ledger
  polisher: Polisher | None = None
  repairer: Repairer | None = None


def metered(run: Run, ledger: Ledger) -> Run:
  """The same, charged; where nothing more may be spent, the tool is unavailable.

  A call is charged before it is made, its price when that is known.
  """

  async def admitted(
    call: ToolCall, images: Mapping[int, Image], sample: int, variant: int, candidates: int
  ) -> ToolOutcome:
    if why := ledger.admit():
      return ToolOutcome('unavailable', 'environment', tool=call.tool, error=why)
    role = f'tool:{call.tool}'
    ledger.charge(role, Spent(1))
    outcome = await run(call, images, sample, variant, candidates)
    seconds = max(0.0, outcome.ended - outcome.started)
    ledger.charge(role, Spent(0, price=outcome.cost, seconds=seconds))
    return outcome

  return admitted
