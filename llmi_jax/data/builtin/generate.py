"""Draws the built-in tasks: three splits of disjoint content, and an endless stream for the warm start."""

import dataclasses
import itertools
import random
from collections.abc import Iterator

from llmi_jax.core.image import Image
from llmi_jax.core.rubric import Edits, Mentions, Paints, Plots, Shows
from llmi_jax.core.task import ImagePart, ImageRule, Message, Part, Task, TextPart
from llmi_jax.data import photographs
from llmi_jax.data.builtin import scenes, words
from llmi_jax.data.builtin.families import FAMILIES, Family, Sketch
from llmi_jax.data.builtin.topics import CHANGES, MORE_CHANGES, SPLITS, TOPICS, Topics

SOURCE = 'llmi_jax/builtin'
LICENCE = 'Apache-2.0; pictures as credited in llmi_jax.data.photographs'
# Contents per split; each makes two tasks, an implicit one and its explicit twin.
SIZES = {'train': 350, 'validation': 50, 'test': 50}

_TOOLS = {Shows: 'search', Plots: 'code', Edits: 'edit', Paints: 'diffusion'}
_COUNTS = {1: 'one', 2: 'two', 3: 'three', 4: 'four'}
# Pictures without colour: turning them grey would change nothing.
_GREY_PICTURES = frozenset(
  ('camera', 'brick', 'grass', 'gravel', 'horse', 'clock_motion', 'cell', 'text', 'microaneurysms')
)
_COLOUR_CHANGES = frozenset({'turn it grey', 'make it black and white'})


def tasks(split: str) -> list[Task]:
  """One split's tasks, the same on every machine; an implicit task and its twin are neighbours.

  Args:
    split: one of `SPLITS`.
  """
  rng = random.Random(f'llmi_jax builtin {split}')
  content = _SplitContent(TOPICS[split], rng, SPLITS.index(split))
  families = _families(SIZES[split], rng, FAMILIES)
  return [
    task for i, family in enumerate(families) for task in _twins(f'{split}-{i:04d}', split, family, content)
  ]


def stream(seed: int) -> Iterator[Task]:
  """Endless train-like tasks over a vocabulary far beyond the train split's, for the warm start.

  Subjects and series are composed from common and made-up words, so that a policy learns to copy words it
  has never seen; no content word of the validation or test split occurs. Pictures to edit are one constant
  photograph, whatever the request says of it.
  """
  rng = random.Random(f'llmi_jax stream {seed}')
  content = _StreamContent(rng)
  weights = [family.weight for family in FAMILIES]
  for i in itertools.count():
    (family,) = rng.choices(FAMILIES, weights)
    implicit, explicit = _twins(f'stream-{seed}-{i}', 'train', family, content)
    yield rng.choice((implicit, explicit))


def _families(size: int, rng: random.Random, known: tuple[Family, ...]) -> list[Family]:
  """Each family in its share of `size`, at least once, in random order."""
  total = sum(family.weight for family in known)
  shares = [family for family in known for _ in range(max(1, family.weight * size // total))]
  missing = max(0, size - len(shares))
  chosen = shares + sorted(known, key=lambda family: -family.weight)[:missing]
  rng.shuffle(chosen)
  return chosen


def _twins(name: str, split: str, family: Family, content: '_SplitContent | _StreamContent') -> list[Task]:
  sketch = family.draw(content)
  request = _request(sketch, family.rule, content.rng)
  required = tuple(sorted({_TOOLS[type(wanted)] for wanted in sketch.wanted}))
  hint = f'Use {" and ".join(required)}.' if required else 'Use no tool.'
  implicit = Task(
    id=name,
    messages=_messages(request, sketch.inputs),
    question=request,
    image_rule=family.rule,
    required_tools=required,
    twin=f'{name}-explicit',
    rubric=(*(str(Mentions(what)) for what in sketch.about), *(str(wanted) for wanted in sketch.wanted)),
    category=tuple(family.name.split('/')),
    source=SOURCE,
    licence=LICENCE,
    split=split,
  )
  asked = f'{request} {hint}'
  explicit = dataclasses.replace(
    implicit,
    id=f'{name}-explicit',
    messages=_messages(asked, sketch.inputs),
    question=asked,
    cue='explicit',
    twin=name,
  )
  return [implicit, explicit]


def _messages(request: str, inputs: tuple[Image, ...]) -> tuple[Message, ...]:
  parts: tuple[Part, ...] = (*(ImagePart(image) for image in inputs), TextPart(request))
  return (Message('user', parts),)


def _request(sketch: Sketch, rule: ImageRule, rng: random.Random) -> str:
  """One sentence: a verb, the clauses, the changes, the image rule in plain words."""
  verbs = ('describe', 'tell me of', 'write about') if rule.kind == 'none' else ('show', 'show me', 'present')
  if sketch.inputs:
    verbs = ('take',)
  what = f'{rng.choice(verbs)} {_join(sketch.clauses)}'
  if sketch.changes:
    bridge = ' and ' if sketch.inputs else ', then '
    what += bridge + ', then '.join(sketch.changes)
  phrase = _rule_phrase(rule, rng)
  if rng.random() < 0.5:
    return f'{phrase[0].upper()}{phrase[1:]}, {what}.'
  return f'{what[0].upper()}{what[1:]}, {phrase}.'


def _rule_phrase(rule: ImageRule, rng: random.Random) -> str:
  if rule.kind == 'exactly':
    noun = 'picture' if rule.count == 1 else 'pictures'
    return rng.choice(('in {} {}', 'in exactly {} {}', 'with {} {}')).format(_COUNTS[rule.count], noun)
  phrases = {
    'none': ('in words only', 'without any picture', 'with text alone'),
    'free': ('with pictures as you like', 'with any number of pictures'),
    'at_least_one': ('with at least one picture', 'with one picture or more'),
  }
  return rng.choice(phrases[rule.kind])


def _join(clauses: tuple[str, ...]) -> str:
  return clauses[0] if len(clauses) == 1 else f'{", ".join(clauses[:-1])} and {clauses[-1]}'


class _SplitContent:
  """Draws from one split's topics; rows of numbers differ between splits by their checksum."""

  def __init__(self, topics: Topics, rng: random.Random, residue: int):
    self.rng = rng
    self._residue = residue
    self._photograph_of = {p: name for name, phrases in topics.subjects.items() for p in phrases}
    self._images = {p.name: dataclasses.replace(p.image, source='input') for p in photographs.load()}
    self._subjects = _Deck(tuple(self._photograph_of), rng)
    self._series = _Deck(topics.series, rng)
    self._scenes = _Deck(scenes.phrases(SPLITS[residue]), rng)
    self._seen: set[tuple[float, ...]] = set()

  def subjects(self, count: int) -> tuple[str, ...]:
    """Phrases for `count` different photographs."""
    chosen: dict[str, str] = {}
    while len(chosen) < count:
      phrase = self._subjects.draw()
      chosen.setdefault(self._photograph_of[phrase], phrase)
    return tuple(chosen.values())

  def series(self, count: int) -> tuple[str, ...]:
    return tuple(self._series.draw() for _ in range(count))

  def values(self, *, few: bool = False) -> tuple[float, ...]:
    while True:
      values = _values(self.rng, few)
      if int(sum(values)) % len(SPLITS) == self._residue and values not in self._seen:
        self._seen.add(values)
        return values

  def changes(self, subject: str | None, count: int) -> tuple[str, ...]:
    grey = subject is not None and self._photograph_of[subject] in _GREY_PICTURES
    return tuple(self.rng.sample([c for c in CHANGES if not (grey and c in _COLOUR_CHANGES)], count))

  def scenes(self, count: int) -> tuple[str, ...]:
    return tuple(self._scenes.draw() for _ in range(count))

  def picture(self, subject: str) -> Image:
    return self._images[self._photograph_of[subject]]


class _StreamContent:
  """Draws from the large vocabulary, and in a fifth of all draws from the train split's own words."""

  def __init__(self, rng: random.Random):
    self.rng = rng
    self._train = tuple(p for phrases in TOPICS['train'].subjects.values() for p in phrases)
    self._scenes = scenes.phrases('train')
    self._picture = dataclasses.replace(photographs.load()[0].image, source='input')

  def subjects(self, count: int) -> tuple[str, ...]:
    drawn: dict[str, None] = {}
    while len(drawn) < count:
      drawn[self.rng.choice(self._train) if self.rng.random() < 0.2 else words.subject(self.rng)] = None
    return tuple(drawn)

  def series(self, count: int) -> tuple[str, ...]:
    train = TOPICS['train'].series
    return tuple(
      self.rng.choice(train) if self.rng.random() < 0.2 else words.series(self.rng) for _ in range(count)
    )

  def values(self, *, few: bool = False) -> tuple[float, ...]:
    return _values(self.rng, few)

  def changes(self, subject: str | None, count: int) -> tuple[str, ...]:
    del subject
    return tuple(self.rng.sample((*CHANGES, *MORE_CHANGES), count))

  def scenes(self, count: int) -> tuple[str, ...]:
    drawn: dict[str, None] = {}
    while len(drawn) < count:
      drawn[self.rng.choice(self._scenes) if self.rng.random() < 0.2 else words.subject(self.rng)] = None
    return tuple(drawn)

  def picture(self, subject: str) -> Image:
    del subject
    return self._picture


class _Deck:
  """Draws without replacement, shuffled anew when empty, so that every phrase occurs about equally often."""

  def __init__(self, cards: tuple[str, ...], rng: random.Random):
    self._cards, self._rng = cards, rng
    self._left: list[str] = []

  def draw(self) -> str:
    if not self._left:
      self._left = list(self._cards)
      self._rng.shuffle(self._left)
    return self._left.pop()


def _values(rng: random.Random, few: bool) -> tuple[float, ...]:
  """Three to five numbers below 100, most of one digit."""
  top = rng.choice((9, 9, 30, 99))
  return tuple(float(rng.randint(1, top)) for _ in range(3 if few else rng.choice((3, 4, 4, 5))))
