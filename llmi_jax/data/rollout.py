"""One sampled answer as plain values: what parquet holds, what reports and viewers show.

A `Rollout` has no tokenizer, model or picture bytes behind it; pictures are named by their hash.
"""

import dataclasses
import json
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import numpy as np

from llmi_jax.core.answer import Answer, AnswerPart, Gap, Picture, Prose
from llmi_jax.core.document import Document, Malformed, Thought, ToolCall
from llmi_jax.core.image import Image
from llmi_jax.core.outcome import Attribution, ToolOutcome
from llmi_jax.core.reward import RewardParts, Term
from llmi_jax.core.task import ImagePart, Task
from llmi_jax.core.trajectory import Trajectory
from llmi_jax.core.verdict import Verdict

# Gates by name, as `rl/gate` knows them: which part's value multiplies which part.
GATES = {'paper': {'mllm': 'rule'}, 'all': {'llm': 'rule', 'mllm': 'rule'}, 'none': {}}


@dataclasses.dataclass(frozen=True)
class PictureRef:
  """A picture by name; its bytes are in `images/<sha256>.png` of the work folder."""

  sha256: str
  width: int
  height: int
  source: str = 'input'

  @property
  def path(self) -> str:
    """Relative to the work folder."""
    return f'images/{self.sha256}.png'


@dataclasses.dataclass(frozen=True)
class Result:
  """What a tool said; fields as in `core.outcome.ToolOutcome`.

  Attributes:
    executed: the parameters as executed, a JSON object.
    seconds: wall time of the call.
    candidates: how many pictures were offered.
    caption: what the source of the picture says it shows.
    attribution: who is owed credit for the picture.
  """

  status: str
  fault: str
  tool: str = ''
  provider: str = ''
  model: str = ''
  seed: int | None = None
  variant: int = 0
  executed: str = '{}'
  error: str = ''
  cost: float = 0.0
  seconds: float = 0.0
  attempts: int = 1
  candidates: int = 0
  caption: str = ''
  attribution: Attribution | None = None


@dataclasses.dataclass(frozen=True)
class Piece:
  """One part of an answer or of a request.

  Attributes:
    kind: `text`, `thought`, `picture` or `gap`.
    text: the text, the thought or the gap's words.
    raw: the tag as written.
    position: the image position it takes.
    tool: the tag's source.
    description: what the picture is to show.
    params: the tag's parameters, a JSON object.
    reason: why a malformed tag is none.
    picture: the picture.
    result: what the tool said, where it was asked.
  """

  kind: Literal['text', 'thought', 'picture', 'gap']
  text: str = ''
  raw: str = ''
  position: int | None = None
  tool: str = ''
  description: str = ''
  params: str = '{}'
  reason: str = ''
  picture: PictureRef | None = None
  result: Result | None = None


@dataclasses.dataclass(frozen=True)
class RewardPart:
  """A term of the reward with what multiplies it.

  Attributes:
    name: such as `rule`.
    value: in [0, 1]; None where it is missing.
    weight: its weight in the reward.
    gate: the part whose value multiplies this one; empty for none.
    note: where the value comes from.
  """

  name: str
  value: float | None
  weight: float
  gate: str = ''
  note: str = ''


@dataclasses.dataclass(frozen=True, eq=False)
class Rollout:
  """One sample of one task.

  Attributes:
    id: `step/task/sample`.
    step: training step, or the step of the policy that was evaluated.
    task: the task's id.
    sample: index among the task's samples in this step.
    split: the task's split.
    question: what judges are told was asked.
    image_num: the image rule as the public data writes it (−1 | 0 | 99 | n).
    required_tools: the tools that a right answer uses.
    cue: `implicit` or `explicit`.
    category: path from coarse to fine.
    request: what the task asks, texts and pictures in order.
    prompt: the text that was tokenized.
    completion: the decoded response.
    answer: text, thoughts, pictures and gaps in order.
    verdicts: judges' replies.
    parts: the reward, taken apart.
    diagnostics: numbers that are logged and never rewarded.
    reward: their gated sum; None where the sample is unscorable.
    advantage: 0 where unscorable or not trained on.
    finish: `stop`, `length` or `cancelled`.
    tokens: [T] int32, as sampled.
    mask: [T] bool, 0 on forced tokens.
    logp_sampled: [T] float32 under the sampling distribution.
    logp_full: [T] float32 at temperature 1.
    timings: seconds by kind.
    origin: what wrote it.
    run: the run's name; empty for none.
  """

  id: str
  step: int
  task: str
  sample: int
  split: str = ''
  question: str = ''
  image_num: int = 0
  required_tools: tuple[str, ...] = ()
  cue: str = ''
  category: tuple[str, ...] = ()
  request: tuple[Piece, ...] = ()
  prompt: str = ''
  completion: str = ''
  answer: tuple[Piece, ...] = ()
  verdicts: tuple[Verdict, ...] = ()
  parts: tuple[RewardPart, ...] = ()
  diagnostics: tuple[Term, ...] = ()
  reward: float | None = None
  advantage: float = 0.0
  finish: str = ''
  tokens: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0, np.int32))
  mask: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0, bool))
  logp_sampled: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0, np.float32))
  logp_full: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0, np.float32))
  timings: tuple[tuple[str, float], ...] = ()
  origin: str = ''
  run: str = ''

  @property
  def address(self) -> str:
    """`run/step/task/sample`: what it is called in reports, viewers and traces."""
    return f'{self.run}/{self.id}' if self.run else self.id


def from_trajectory(
  trajectory: Trajectory, weights: Mapping[str, float], gate: str = 'paper', run: str = ''
) -> Rollout:
  """Flattens a trajectory.

  Args:
    trajectory: a finished sample.
    weights: reward weight by part name; parts without one count 0.
    gate: a key of `GATES`.
    run: the run's name.
  """
  task, turns, answer = trajectory.task, trajectory.turns, trajectory.answer
  join = lambda field, dtype: np.concatenate([np.zeros(0, dtype), *(getattr(t, field) for t in turns)])
  return Rollout(
    id=trajectory.id,
    step=trajectory.step,
    sample=trajectory.sample,
    **_about(task),
    prompt='\n'.join(t.prompt.text for t in turns),
    completion='\n'.join(t.text for t in turns),
    answer=tuple(_pieces(answer, [t.document for t in turns])),
    verdicts=answer.verdicts,
    parts=_reward_parts(answer.reward, weights, GATES[gate]),
    diagnostics=answer.reward.diagnostics if answer.reward else (),
    reward=trajectory.reward,
    advantage=float(trajectory.advantage),
    finish=turns[-1].finish if turns else '',
    tokens=join('tokens', np.int32).astype(np.int32),
    mask=join('mask', bool).astype(bool),
    logp_sampled=join('logp_sampled', np.float32).astype(np.float32),
    logp_full=join('logp_full', np.float32).astype(np.float32),
    timings=trajectory.timings,
    origin=answer.origin,
    run=run,
  )


def from_answer(
  answer: Answer,
  task: Task,
  weights: Mapping[str, float] | None = None,
  gate: str = 'paper',
) -> Rollout:
  """Flattens an answer that has no tokens behind it: a remote model's, a file's, a generated one."""
  return Rollout(
    id=f'0/{task.id}/0',
    step=0,
    sample=0,
    **_about(task),
    completion=answer.document.response if answer.document else '',
    answer=tuple(_pieces(answer, [answer.document] if answer.document else [])),
    verdicts=answer.verdicts,
    parts=_reward_parts(answer.reward, weights or {}, GATES[gate]),
    diagnostics=answer.reward.diagnostics if answer.reward else (),
    origin=answer.origin,
  )


def pictures(task: Task, answer: Answer) -> Iterator[Image]:
  """Every picture that a rollout of them refers to."""
  yield from task.input_images
  yield from (p.image for p in answer.pictures)


def _about(task: Task) -> dict[str, Any]:
  return dict(
    task=task.id,
    split=task.split,
    question=task.question,
    image_num=task.image_rule.image_num,
    required_tools=task.required_tools,
    cue=task.cue,
    category=task.category,
    request=tuple(
      Piece('picture', picture=_ref(part.image)) if isinstance(part, ImagePart) else Piece('text', part.text)
      for message in task.messages
      if message.role != 'system'
      for part in message.content
    ),
  )


def _pieces(answer: Answer, documents: list[Document]) -> Iterator[Piece]:
  """The documents' segments, thoughts included, with what became of their tags.

  An answer without a document is shown as it stands.
  """
  if not documents:
    yield from (_shown(part) for part in answer.parts)
    return
  became = {_place(part.call): part for part in answer.parts if isinstance(part, Picture | Gap) and part.call}
  for document in documents:
    for segment in document.segments:
      if isinstance(segment, ToolCall | Malformed):
        if _place(segment) not in became:
          raise ValueError(f'The answer to {answer.task_id} has no part for the tag at {segment.start}.')
        yield _shown(became[_place(segment)])
      else:
        yield Piece('thought' if isinstance(segment, Thought) else 'text', segment.raw)


def _place(tag: ToolCall | Malformed) -> tuple[int | None, int, str]:
  """What tells the tags of one answer apart, unclosed ones without a position and later turns included."""
  return tag.position, tag.start, tag.raw


def _shown(part: AnswerPart) -> Piece:
  if isinstance(part, Prose):
    return Piece('text', part.text)
  call, outcome = part.call, part.outcome
  tag = dict[str, Any](position=part.position, raw=call.raw if call else '')
  if isinstance(call, ToolCall):
    params = json.dumps(dict(call.params))
    tag |= dict(tool=call.tool, description=call.description, params=params)
  if isinstance(call, Malformed):
    tag |= dict(reason=call.reason)
  result = _result(outcome) if outcome else None
  if isinstance(part, Picture):
    return Piece('picture', picture=_ref(part.image), result=result, **tag)
  return Piece('gap', part.words, result=result, **tag)


def _ref(image: Image) -> PictureRef:
  return PictureRef(image.sha256, image.width, image.height, image.source)


def _result(outcome: ToolOutcome) -> Result:
  first = outcome.candidates[0] if outcome.candidates else None
  return Result(
    status=outcome.status,
    fault=outcome.fault,
    tool=outcome.tool,
    provider=outcome.provider,
    model=outcome.model,
    seed=outcome.seed,
    variant=outcome.variant,
    executed=json.dumps(dict(outcome.executed), default=str),
    error=outcome.error,
    cost=float(outcome.cost),
    seconds=float(outcome.ended - outcome.started),
    attempts=outcome.attempts,
    candidates=len(outcome.candidates),
    caption=first.caption if first else '',
    attribution=first.attribution if first else None,
  )


def _reward_parts(
  reward: RewardParts | None, weights: Mapping[str, float], gates: Mapping[str, str]
) -> tuple[RewardPart, ...]:
  if reward is None:
    return ()
  terms = (reward.rule, reward.llm, reward.mllm, *reward.extra)
  return tuple(
    RewardPart(t.name, t.value, float(weights.get(t.name, 0)), gates.get(t.name, ''), t.note) for t in terms
  )
