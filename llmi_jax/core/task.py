"""A request for a document, as every data source yields it."""

import dataclasses
from typing import Any, Literal

from llmi_jax.core.image import Image

# The public data's `image_num`: −1 none, 0 free, 99 at least one, n exactly n.
AT_LEAST_ONE = 99


@dataclasses.dataclass(frozen=True)
class ImageRule:
  """How many pictures an answer may hold.

  Attributes:
    kind: the rule.
    count: the number wanted for `exactly`, else 0.
  """

  kind: Literal['none', 'free', 'at_least_one', 'exactly']
  count: int = 0

  def __post_init__(self):
    if (self.kind == 'exactly') != (self.count > 0):
      raise ValueError(f'ImageRule({self.kind!r}, {self.count}): only `exactly` has a positive count.')

  @classmethod
  def from_image_num(cls, number: int) -> 'ImageRule':
    """Reads the public data's `image_num` (−1 | 0 | 99 | n)."""
    named = {-1: cls('none'), 0: cls('free'), AT_LEAST_ONE: cls('at_least_one')}
    if number in named:
      return named[number]
    if number < 1:
      raise ValueError(f'image_num is {number}; known are -1, 0, {AT_LEAST_ONE} and positive counts.')
    return cls('exactly', number)

  @property
  def image_num(self) -> int:
    """The public data's encoding of this rule."""
    return {'none': -1, 'free': 0, 'at_least_one': AT_LEAST_ONE, 'exactly': self.count}[self.kind]


@dataclasses.dataclass(frozen=True)
class TextPart:
  text: str


@dataclasses.dataclass(frozen=True)
class ImagePart:
  image: Image


Part = TextPart | ImagePart


@dataclasses.dataclass(frozen=True)
class Message:
  role: Literal['system', 'user', 'assistant']
  content: tuple[Part, ...]


@dataclasses.dataclass(frozen=True)
class Task:
  """One request.

  Attributes:
    id: unique within its data set; part of every random key.
    messages: what the policy is asked; at most one system message, which prompts replace.
    question: what judges are told was asked; not always the prompt's text.
    image_rule: how many pictures the answer may hold.
    required_tools: the tools that a right answer uses, sorted; empty where any will do.
    offered_tools: the tools named in the prompt; empty means all that are configured.
    cue: whether the request names its tools (`explicit`) or only implies them.
    twin: id of the task that differs only in its cue.
    rubric: criteria of this task alone, in words; see `judges/offline` for the ones it can check.
    category: path from coarse to fine.
    gold: a reference answer, if there is one.
    gold_steps: its number of text–image pairs.
    follow_ups: later user turns.
    source: the data set.
    licence: of the task's text and pictures.
    split: `train`, `validation` or `test`.
    payload: what only a benchmark reads.
  """

  id: str
  messages: tuple[Message, ...]
  question: str
  image_rule: ImageRule
  required_tools: tuple[str, ...] = ()
  offered_tools: tuple[str, ...] = ()
  cue: Literal['implicit', 'explicit'] = 'implicit'
  twin: str | None = None
  rubric: tuple[str, ...] = ()
  category: tuple[str, ...] = ()
  gold: tuple[Part, ...] | None = None
  gold_steps: int | None = None
  follow_ups: tuple[Message, ...] = ()
  source: str = ''
  licence: str = ''
  split: str = 'train'
  payload: Any = dataclasses.field(default=None, compare=False)

  @property
  def input_images(self) -> tuple[Image, ...]:
    """Pictures in the messages, in order; they take the first image positions of an answer."""
    return tuple(p.image for m in self.messages for p in m.content if isinstance(p, ImagePart))
