"""One response's life after its last token: parse, run its tools, ask the judges, take its reward apart."""

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple, Protocol

from llmi_jax.core.answer import Answer, AnswerPart
from llmi_jax.core.document import Document
from llmi_jax.core.outcome import ToolOutcome
from llmi_jax.core.reward import RewardParts
from llmi_jax.core.task import Task
from llmi_jax.core.trajectory import Trajectory, Turn
from llmi_jax.core.verdict import Verdict
from llmi_jax.rollout.timeline import Timeline


class Place(NamedTuple):
  """Where in a run a sample stands; with its task, the address of its tools' and judges' replies.

  Attributes:
    stream: what it was sampled for.
    step: of training, or of the policy that is evaluated.
    sample: index among the task's samples.
  """

  stream: str
  step: int
  sample: int


class Tools(Protocol):
  """Runs a document's calls; image position → outcome."""

  def __call__(self, task: Task, document: Document, place: Place) -> Awaitable[dict[int, ToolOutcome]]: ...


class Judge(Protocol):
  """Scores an answer, or says why not."""

  def __call__(self, task: Task, answer: Answer, place: Place) -> Awaitable[Verdict]: ...


async def _unexamined(step: int) -> dict[str, float]:
  return {}


@dataclasses.dataclass(frozen=True)
class Scoring:
  """What turns a document into a reward; made by the entry point.

  Attributes:
    tools: runs the calls.
    compose: document and outcomes → what people and judges see.
    judges: asked together.
    parts: task and judged answer → the reward's parts.
    total: the parts of many answers → a reward each, or None where a needed part is missing.
    gauges: numbers about the judges' calls since it was last asked, for a line of metrics.
    examine: how the judges themselves stand, for the evaluation of a step.
  """

  tools: Tools
  compose: Callable[[Document, dict[int, ToolOutcome]], tuple[AnswerPart, ...]]
  judges: Sequence[Judge]
  parts: Callable[[Task, Answer], RewardParts]
  total: Callable[[Sequence[RewardParts]], Sequence[float | None]]
  gauges: Callable[[], dict[str, float]] = dict
  examine: Callable[[int], Awaitable[dict[str, float]]] = _unexamined


async def finish(
  task: Task, turn: Turn, place: Place, scoring: Scoring, timeline: Timeline, origin: str
) -> Trajectory:
  """Carries a finished turn to a judged trajectory; rewards come once all are there."""
  started = timeline.now()
  with timeline.span('tools'):
    outcomes = await scoring.tools(task, turn.document, place)
  served = timeline.now()
  answer = Answer(task.id, scoring.compose(turn.document, outcomes), turn.document, origin=origin)
  with timeline.span('judge'):
    verdicts = await asyncio.gather(*(judge(task, answer, place) for judge in scoring.judges))
  answer = dataclasses.replace(answer, verdicts=tuple(verdicts))
  parts = scoring.parts(task, answer)
  return Trajectory(
    task,
    place.sample,
    (turn,),
    dataclasses.replace(answer, reward=parts),
    place.step,
    timings=(
      ('decode', turn.ended - turn.started),
      ('tools', served - started),
      ('judge', timeline.now() - served),
    ),
  )
