"""What statistics read of a scored sample: plain values, light enough to be sent between processes."""

import dataclasses

from llmi_jax.core.trajectory import Trajectory
from llmi_jax.rewards import rules

PARTS = ('rule', 'llm', 'mllm')


@dataclasses.dataclass(frozen=True)
class Term:
  """A part of a reward; None where it is missing."""

  name: str
  value: float | None


@dataclasses.dataclass(frozen=True)
class Outcome:
  """A tool call's."""

  tool: str
  status: str


@dataclasses.dataclass(frozen=True)
class Facts:
  """Of one sample.

  Attributes:
    task: its id.
    reward: None where it is unscorable.
    advantage: within its group.
    lengths: tokens of each turn.
    truncated: whether it was cut off.
    valid: tags of good form.
    tags: all tags.
    count_error: pictures made minus pictures wanted.
    rule_score: whether the image rule holds, exactly.
    tool_accuracy: see `rewards.rules`.
    terms: parts of the reward, `PARTS` first; empty where there is none.
    outcomes: of its calls.
    lost: what the environment lost, if it is unscorable.
    verdicts: of judges that can fail: `NAME/scored`, or `NAME/missing/FAULT`.
  """

  task: str
  reward: float | None
  advantage: float
  lengths: tuple[int, ...]
  truncated: bool
  valid: int
  tags: int
  count_error: int
  rule_score: float
  tool_accuracy: float
  terms: tuple[Term, ...]
  outcomes: tuple[Outcome, ...]
  lost: tuple[str, ...]
  verdicts: tuple[str, ...]


def facts(trajectory: Trajectory) -> Facts:
  """Of a trajectory with its advantage."""
  answer = trajectory.answer
  valid, tags = rules.tag_counts(answer)
  terms: tuple[Term, ...] = ()
  if answer.reward:
    own = [(name, getattr(answer.reward, name).value) for name in PARTS]
    terms = tuple(Term(*pair) for pair in (*own, *((t.name, t.value) for t in answer.reward.extra)))
  return Facts(
    trajectory.task.id,
    trajectory.reward,
    trajectory.advantage,
    tuple(len(turn.tokens) for turn in trajectory.turns),
    trajectory.turns[-1].finish == 'length',
    valid,
    tags,
    _count_error(trajectory),
    rules.image_rule_score(trajectory.task.image_rule, len(answer.pictures), exact=True),
    rules.tool_accuracy(trajectory.task, answer),
    terms,
    tuple(Outcome(outcome.tool, outcome.status) for outcome in answer.outcomes),
    _lost(trajectory),
    # Programs have no prompt.
    tuple(
      f'{v.judge}/{v.status}' + (f'/{v.cause}' if v.cause else '') for v in answer.verdicts if v.prompt_hash
    ),
  )


def _lost(trajectory: Trajectory) -> tuple[str, ...]:
  """The tools and judges that the environment lost, if the sample is unscorable."""
  if trajectory.reward is not None:
    return ()
  answer = trajectory.answer
  lost = {f'tool {o.tool}' for o in answer.outcomes if o.fault == 'environment'}
  # A judge that gives no reward costs none.
  lost |= {f'judge {v.judge}' for v in answer.verdicts if v.status == 'missing' and v.judge in PARTS}
  return tuple(sorted(lost or {'other'}))


def _count_error(trajectory: Trajectory) -> int:
  """Pictures made minus pictures wanted, where the rule wants a number."""
  rule = trajectory.task.image_rule
  made = len(trajectory.answer.pictures)
  if rule.kind in ('exactly', 'none'):
    return made - rule.count
  return min(0, made - 1) if rule.kind == 'at_least_one' else 0
