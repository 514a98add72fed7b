"""Other pictures for a place, each tool in its own way."""

import asyncio
import dataclasses
from collections.abc import Mapping, Sequence

from llmi_jax.core.document import ToolCall
from llmi_jax.core.image import Image
from llmi_jax.core.outcome import ToolOutcome
from llmi_jax.core.task import Task
from llmi_jax.tts import repair
from llmi_jax.tts.crew import Crew
from llmi_jax.tts.settings import Enhance, Way

# Variants of calls: each draw at one place of one sample has its own number. 0 is the sample's own.
FIRST, REDONE, REPAIR = 1, 2000, 3000


@dataclasses.dataclass(frozen=True)
class Option:
  """A picture that could stand in a place, or the lack of one.

  Attributes:
    call: the tag, its code mended perhaps.
    outcome: what became of it.
    what: it is, for people.
  """

  call: ToolCall
  outcome: ToolOutcome
  what: str


def way(call: ToolCall, settings: Enhance, crew: Crew) -> Way:
  """How a tool's pictures are bettered."""
  chosen = settings.ways.get(call.tool)
  if chosen is None:
    return 'seeds' if call.tool in crew.draws else 'none'
  # What takes no seed and is done here anew each time would only be the same.
  return 'none' if chosen == 'seeds' and call.tool not in crew.draws else chosen


async def others(
  task: Task, first: Option, images: Mapping[int, Image], sample: int, crew: Crew, settings: Enhance
) -> list[Option]:
  """Further options besides the first one, no picture twice.

  Args:
    task: what was asked.
    first: what stands there.
    images: at the positions that the call names.
    sample: whose call it is.
    crew: runs tools and mends code.
    settings: how many.
  """
  call, chosen = first.call, way(first.call, settings, crew)
  if chosen == 'repair' and first.outcome.fault == 'policy':
    mended = await repair.mended(task, call, first.outcome, images, sample, crew, settings.repairs, REPAIR)
    return [Option(*mended)] if mended else []
  if first.outcome.image is None or not settings.variants:
    return []
  found: list[Option] = []
  if chosen == 'seeds':
    runs = await asyncio.gather(
      *(crew.run(call, images, sample, FIRST + k, 1) for k in range(settings.variants))
    )
    found = [Option(call, one, f'variant {FIRST + k}') for k, one in enumerate(runs)]
  elif chosen == 'candidates':
    more = await crew.run(call, images, sample, FIRST, settings.variants + 1)
    found = [
      Option(call, dataclasses.replace(more, candidates=(one,)), f'candidate {rank}')
      for rank, one in enumerate(more.candidates)
    ]
  return _distinct(first, found)[: settings.variants]


def _distinct(first: Option, found: Sequence[Option]) -> list[Option]:
  """Those with a picture that no earlier one has."""
  seen = {first.outcome.image.sha256} if first.outcome.image else set()
  kept = []
  for option in found:
    image = option.outcome.image
    if image is not None and image.sha256 not in seen:
      seen.add(image.sha256)
      kept.append(option)
  return kept
