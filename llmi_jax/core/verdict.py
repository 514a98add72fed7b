"""What a judge said, or why it said nothing."""

import dataclasses
from typing import Literal

# Declared scales: name → (lowest, highest).
SCALES = {'1-5': (1, 5), '0-10': (0, 10), '0-2': (0, 2), '0-1': (0, 1)}


@dataclasses.dataclass(frozen=True)
class Score:
  """One named value of a verdict.

  Attributes:
    name: such as `text` or `image_quality`.
    value: on `scale`.
    scale: a key of `SCALES`.
    note: the judge's word for it.
  """

  name: str
  value: float
  scale: str = '1-5'
  note: str = ''

  def __post_init__(self):
    low, high = SCALES[self.scale]
    if not low <= self.value <= high:
      raise ValueError(f'{self.name} is {self.value}; its scale is {self.scale}.')

  @property
  def unit(self) -> float:
    """The value moved to [0, 1]."""
    low, high = SCALES[self.scale]
    return (self.value - low) / (high - low)


@dataclasses.dataclass(frozen=True)
class Verdict:
  """One judge's reply about one answer.

  Attributes:
    judge: `llm`, `mllm` or another judge's name.
    status: `scored`; `not_applicable` (nothing to judge); `missing` (the environment failed).
    scores: empty unless `scored`.
    justification: the judge's own words.
    reason: why it is missing or not applicable; a missing one's begins with the fault's name and a colon.
    model: what answered.
    prompt_hash: of the judge prompt.
    vote: index among several votes.
    seconds: wall time of the call.
    tokens: prompt and reply together.
    raw: the reply as received.
  """

  judge: str
  status: Literal['scored', 'not_applicable', 'missing']
  scores: tuple[Score, ...] = ()
  justification: str = ''
  reason: str = ''
  model: str = ''
  prompt_hash: str = ''
  vote: int = 0
  seconds: float = 0.0
  tokens: int = 0
  raw: str = ''

  def __post_init__(self):
    if (self.status == 'scored') != bool(self.scores):
      raise ValueError(f'A {self.status} Verdict of {self.judge} has {len(self.scores)} scores.')

  @property
  def cause(self) -> str:
    """The name of the fault that made it missing, such as `deadline`; empty where it is not missing."""
    return self.reason.partition(':')[0] if self.status == 'missing' else ''

  def __getitem__(self, name: str) -> Score:
    return next(s for s in self.scores if s.name == name)
