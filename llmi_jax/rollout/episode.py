"""One response's life after its last token: parse, run its tools, ask the judges, take its reward apart."""

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from llmi_jax.core.answer import Answer, AnswerPart
from llmi_jax.core.document import Document, Segment, ToolCall
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


class Calls(Protocol):
  """The tool calls of one response; see `tools/session`."""

  def submit(self, segment: Segment) -> None:
    """Takes the response's next segment; a call in it starts at once."""

  async def finish(self) -> dict[int, ToolOutcome]:
    """Waits for all calls; image position → outcome."""
    ...

  async def cancel(self) -> None:
    """Stops what still runs."""


class Reader(Protocol):
  """Takes a response apart while it is written."""

  def push(self, tokens: np.ndarray) -> Sequence[Segment]:
    """The segments that became certain with these tokens."""
    ...

  def close(self) -> Sequence[Segment]:
    """The last ones."""
    ...


class Judge(Protocol):
  """Scores an answer, or says why not."""

  def __call__(self, task: Task, answer: Answer, place: Place) -> Awaitable[Verdict]: ...


async def _unexamined(step: int) -> dict[str, float]:
  return {}


@dataclasses.dataclass(frozen=True)
class Scoring:
  """What turns a document into a reward; made by the entry point.

  Attributes:
    open: starts on the calls of one response.
    compose: document and outcomes → what people and judges see.
    judges: asked together.
    parts: task and judged answer → the reward's parts.
    total: the parts of many answers → a reward each, or None where a needed part is missing.
    gauges: numbers about the judges' calls since it was last asked, for a line of metrics.
    examine: how the judges themselves stand, for the evaluation of a step.
  """

  open: Callable[[Task, Place], Calls]
  compose: Callable[[Document, dict[int, ToolOutcome]], tuple[AnswerPart, ...]]
  judges: Sequence[Judge]
  parts: Callable[[Task, Answer], RewardParts]
  total: Callable[[Sequence[RewardParts]], Sequence[float | None]]
  gauges: Callable[[], dict[str, float]] = dict
  examine: Callable[[int], Awaitable[dict[str, float]]] = _unexamined


class Writing:
  """A response that is being written: its calls start as soon as their tags are closed."""

  def __init__(self, reader: Reader, calls: Calls):
    self._reader, self._calls = reader, calls
    self._read = 0
    self.first_call: float | None = None

  def grow(self, tokens: np.ndarray, now: float) -> None:
    """Reads what was added, at `now` seconds of the step."""
    self._read += len(tokens)
    self._submit(self._reader.push(tokens), now)

  def end(self, tokens: np.ndarray, now: float) -> None:
    """Reads the rest of the whole response."""
    self.grow(tokens[self._read :], now)
    self._submit(self._reader.close(), now)

  def _submit(self, segments: Sequence[Segment], now: float) -> None:
    for segment in segments:
      if self.first_call is None and isinstance(segment, ToolCall):
        self.first_call = now
      self._calls.submit(segment)

  async def outcomes(self) -> dict[int, ToolOutcome]:
    """Waits for all calls."""
    return await self._calls.finish()

  async def cancel(self) -> None:
    """Stops the calls of a response that nobody wants any more."""
    await self._calls.cancel()


async def finish(
  task: Task,
  turn: Turn,
  writing: Writing,
  place: Place,
  scoring: Scoring,
  timeline: Timeline,
  origin: str,
) -> Trajectory:
  """Carries a finished turn to a judged trajectory; rewards come once all are there."""
  outcomes = await writing.outcomes()
  served = timeline.now()
  started = turn.ended if writing.first_call is None else writing.first_call
  timeline.add('tools', started, served)
  answer = Answer(task.id, scoring.compose(turn.document, outcomes), turn.document, origin=origin)
  with timeline.span('judge'):
    judged = await asyncio.gather(*(_asked(judge, task, answer, place, timeline) for judge in scoring.judges))
  verdicts = [verdict for verdict, *_ in judged]
  answer = dataclasses.replace(answer, verdicts=tuple(verdicts))
  parts = scoring.parts(task, answer)
  trajectory = Trajectory(
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
  for outcome in answer.outcomes:
    timeline.call(f'tool {outcome.tool}', outcome.status, outcome.started, outcome.ended, trajectory.id)
  for verdict, began, ended in judged:
    span = timeline.epoch(began), timeline.epoch(ended)
    timeline.call(f'judge {verdict.judge}', verdict.status, *span, trajectory.id)
  return trajectory


async def _asked(
  judge: Judge, task: Task, answer: Answer, place: Place, timeline: Timeline
) -> tuple[Verdict, float, float]:
  """A judge's verdict, and when it was asked and answered."""
  began = timeline.now()
  verdict = await judge(task, answer, place)
  return verdict, began, timeline.now()
