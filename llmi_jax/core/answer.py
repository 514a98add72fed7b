"""A finished document, as people, judges and benchmarks see it."""

import dataclasses

from llmi_jax.core.document import Document, Malformed, ToolCall
from llmi_jax.core.image import Image
from llmi_jax.core.outcome import ToolOutcome
from llmi_jax.core.reward import RewardParts
from llmi_jax.core.verdict import Verdict


@dataclasses.dataclass(frozen=True)
class Prose:
  """Text between pictures."""

  text: str


@dataclasses.dataclass(frozen=True)
class Picture:
  """A picture in its place, with where it came from.

  Attributes:
    image: the picture.
    position: its image position.
    call: the tag that asked for it; None in foreign answers.
    outcome: what the tool said; None in foreign answers.
  """

  image: Image
  position: int
  call: ToolCall | None = None
  outcome: ToolOutcome | None = None


@dataclasses.dataclass(frozen=True)
class Gap:
  """A place where a picture was meant to be; judges and readers see `words`.

  Attributes:
    words: one sentence for people.
    position: the image position it takes; None for an unclosed tag.
    call: the well-formed tag, or the malformed one.
    outcome: what the tool said, if it was asked.
  """

  words: str
  position: int | None
  call: ToolCall | Malformed | None = None
  outcome: ToolOutcome | None = None


AnswerPart = Prose | Picture | Gap


@dataclasses.dataclass(frozen=True)
class Answer:
  """An answer to one task; a policy, a remote model and a foreign file all yield one.

  Attributes:
    task_id: the task it answers.
    parts: text, pictures and gaps in order, thoughts left out.
    document: the parsed response, where there is one.
    verdicts: judges' replies.
    reward: the parts of its reward, where it was scored.
    origin: what wrote it, such as a policy's work folder or a model's name.
    usage: what writing it took, where known: `prompt_tokens`, `completion_tokens`, `seconds`, `calls`, ….
  """

  task_id: str
  parts: tuple[AnswerPart, ...]
  document: Document | None = None
  verdicts: tuple[Verdict, ...] = ()
  reward: RewardParts | None = None
  origin: str = ''
  usage: tuple[tuple[str, float], ...] = ()

  @property
  def pictures(self) -> tuple[Picture, ...]:
    return tuple(p for p in self.parts if isinstance(p, Picture))

  @property
  def gaps(self) -> tuple[Gap, ...]:
    return tuple(p for p in self.parts if isinstance(p, Gap))

  @property
  def outcomes(self) -> tuple[ToolOutcome, ...]:
    """Outcomes of the calls that were attempted, in order."""
    return tuple(p.outcome for p in self.parts if isinstance(p, Picture | Gap) and p.outcome)


@dataclasses.dataclass(frozen=True)
class Revision:
  """A step of test-time scaling; never trained on.

  Attributes:
    answer: the answer after this step.
    parent: index of the revision it was made from; None for a sampled one.
    stage: `sample`, `enhance`, `polish`, ….
    changed: image positions that differ from the parent's.
    why: one sentence for people.
  """

  answer: Answer
  parent: int | None
  stage: str
  changed: tuple[int, ...] = ()
  why: str = ''
