"""Written answers to built-in tasks, right or wrong on purpose, for the supervised warm start.

A demonstration copies its content words and numbers from the request exactly; what may be wrong is what
reinforcement is to mend: which tool, how many pictures, a tag's form, and prose that announces a picture or
never names its subject. Each flaw is drawn on its own.

Everything that varies starts with a space, in requests and in answers alike (` a tabby cat`, ` 3, 5, 8`), so
a tokenizer cuts both alike; everything that does not is one of `SKELETONS`, which a tokenizer may keep
whole.
"""

import dataclasses
import random
from collections.abc import Callable, Sequence

from llmi_jax.core.rubric import Edits, Mentions, Paints, Plots, Shows, criteria, numbers
from llmi_jax.core.task import Task

Wanted = Shows | Plots | Edits | Paints


@dataclasses.dataclass(frozen=True)
class Flaws:
  """How often each thing goes wrong, as shares of all demonstrations.

  Attributes:
    tool: the pictures are asked of wrong tools.
    count: a picture too few or too many.
    tag: one tag is broken.
    prose: the text announces a picture, or never names what it is about.
    habit: whether the wrong tool is always the same one. With `tool` above one half the most likely answer
      is then wrong, and sampling at a low temperature makes it worse, not better.
    tools: those that wrong tools are drawn from.
  """

  tool: float = 0.40
  count: float = 0.30
  tag: float = 0.15
  prose: float = 0.25
  habit: bool = False
  tools: tuple[str, ...] = ('search', 'code', 'edit', 'diffusion')


PERFECT = Flaws(0.0, 0.0, 0.0, 0.0)
HABITS = Flaws(tool=0.65, habit=True)

_SEARCH = '<imgen>{"source": "search", "description": "a photo of'
_QUERY = '", "params": {"query": "photo of'
_EDIT = '<imgen>{"source": "edit", "description": "a picture of'
_INDEX = '", "params": {"img_index": '
_PROMPT = ', "prompt": "please'
_DIFFUSION = '<imgen>{"source": "diffusion", "description": "a painting of'
_PAINT = '", "params": {"prompt": "a painting of'
_CLOSE = '"}}</imgen>'
_CODE = '<imgen>{{"source": "code", "description": "a {} of'
# For each kind of chart: how its tag begins, what stands before its numbers and what stands after them.
_CHARTS = {
  'line': (_CODE.format('line chart'), '", "params": {"code": "plt.plot([', '])"}}</imgen>'),
  'bar': (_CODE.format('bar chart'), '", "params": {"code": "pd.Series([', ']).plot.bar()"}}</imgen>'),
  'pie': (_CODE.format('pie chart'), '", "params": {"code": "plt.pie([', '])"}}</imgen>'),
  'hist': (_CODE.format('histogram'), '", "params": {"code": "plt.hist([', '])"}}</imgen>'),
}

# Fixed strings of right tags, longest first.
SKELETONS: tuple[str, ...] = tuple(
  sorted(
    {
      *(_SEARCH, _QUERY, _EDIT, _INDEX, _PROMPT, _DIFFUSION, _PAINT, _CLOSE),
      *(string for chart in _CHARTS.values() for string in chart),
    },
    key=lambda string: (-len(string), string),
  )
)

# `{}` takes the subject, article and all.
_OPENINGS = (
  'We turn to {} today.',
  'Few things hold the eye like {}.',
  'There is much to say about {}.',
  'People often ask about {}.',
)
# Documents of several pictures say less about each.
_BRIDGES = ('Now for {}.', 'Next, {}.', 'Then, {}.')
_RETURNS = ('Again, {}.', 'Once more, {}.')
_CLOSINGS = (
  'The details reward a slow look.',
  'That much is plain at a glance.',
  'It is worth a second look.',
)
_VAGUE = ('There is much to say here.', 'Few things hold the eye like this.', 'People often ask about it.')
_ANNOUNCEMENTS = (
  'Here is an image of {}:',
  'The following picture shows {}:',
  'Below is a picture of {}:',
  'I will generate an image of {}:',
)

# Documents of more pictures than this have no last sentence.
_CLOSED = 2
_RIGHT: dict[type, str] = {Shows: 'search', Plots: 'code', Edits: 'edit', Paints: 'diffusion'}
_HABIT: dict[type, str] = {Shows: 'code', Plots: 'search', Edits: 'search', Paints: 'search'}


def demonstrate(task: Task, rng: random.Random, *, flaws: Flaws = PERFECT) -> str:
  """Writes an answer to a task whose rubric has the form of `core/rubric`.

  Args:
    task: a built-in task or one of the warm start's stream.
    rng: decides the wording and which flaws occur.
    flaws: how often each flaw occurs.
  """
  found = criteria(task.rubric)
  about = [c.what for c in found if isinstance(c, Mentions)]
  wanted = [c for c in found if not isinstance(c, Mentions)]
  tags = [(item, _tag(item)) for item in wanted]
  if rng.random() < flaws.tool:
    tags = [(item, _wrong_tool(item, rng, flaws)) for item, _ in tags]
  if rng.random() < flaws.count:
    tags = _wrong_count(tags, about, rng)
  if tags and rng.random() < flaws.tag:
    i = rng.randrange(len(tags))
    tags[i] = (tags[i][0], rng.choice(BREAKAGES)(tags[i][1]))
  prose_flaw = rng.choice(('announce', 'vague')) if rng.random() < flaws.prose else ''
  return _write(about, tags, prose_flaw, rng)


def _write(about: Sequence[str], tags: Sequence[tuple[Wanted, str]], flaw: str, rng: random.Random) -> str:
  """A sentence before each picture that names it, and one at the end of short documents."""
  lines: list[str] = []
  named: set[str] = set()
  for item, tag in tags:
    frames = _OPENINGS if not lines else _RETURNS if item.what in named else _BRIDGES
    lines += [_sentence(frames, item.what, flaw, rng), tag]
    named.add(item.what)
  if not tags:
    lines = [_sentence(_OPENINGS, about[0], flaw, rng)]
  if len(tags) <= _CLOSED:
    lines.append(rng.choice(_CLOSINGS))
  return ' '.join(lines)


def _sentence(frames: Sequence[str], what: str, flaw: str, rng: random.Random) -> str:
  frames = {'announce': _ANNOUNCEMENTS, 'vague': _VAGUE}.get(flaw, frames)
  return rng.choice(frames).format(what)


def _tag(item: Wanted) -> str:
  if isinstance(item, Shows):
    return _search(item.what)
  if isinstance(item, Plots):
    return _code(item.what, item.kind, item.values)
  if isinstance(item, Paints):
    return _paint(item.what)
  return _edit(item.what, item.index, item.change)


def _search(what: str) -> str:
  return f'{_SEARCH} {what}{_QUERY} {what}{_CLOSE}'


def _paint(what: str) -> str:
  return f'{_DIFFUSION} {what}{_PAINT} {what}{_CLOSE}'


def _code(what: str, kind: str, values: Sequence[float]) -> str:
  begin, start, end = _CHARTS[kind]
  return f'{begin} {what}{start} {numbers(values)}{end}'


def _edit(what: str, index: int, change: str) -> str:
  return f'{_EDIT} {what}{_INDEX}{index}{_PROMPT} {change}{_CLOSE}'


def _wrong_tool(item: Wanted, rng: random.Random, flaws: Flaws) -> str:
  """The same wish sent to another tool, with the arguments that such a mistake would have."""
  right = _RIGHT[type(item)]
  tool = _HABIT[type(item)] if flaws.habit else rng.choice([tool for tool in flaws.tools if tool != right])
  if tool == 'search':
    return _search(item.what)
  if tool == 'diffusion':
    return _paint(item.what)
  if tool == 'code':
    return _code(item.what, rng.choice(tuple(_CHARTS)), tuple(range(1, rng.randint(4, 6))))
  return _edit(item.what, 0, item.change if isinstance(item, Edits) else 'turn it grey')


def _wrong_count(
  tags: list[tuple[Wanted, str]], about: list[str], rng: random.Random
) -> list[tuple[Wanted, str]]:
  """One picture fewer, or one repeated; where none is wanted, a photograph."""
  if not tags:
    return [(Shows(about[0]), _search(about[0]))]
  if rng.random() < 0.5:
    return tags[:-1]
  return [*tags, tags[-1]]


def _no_brace(tag: str) -> str:
  return tag.replace('}}</imgen>', '}</imgen>')


def _wrong_key(tag: str) -> str:
  return tag.replace('"source"', '"tool"')


def _missing_key(tag: str) -> str:
  return tag.replace('"params": ', '')


def _unclosed(tag: str) -> str:
  return tag.removesuffix('</imgen>')


def _unknown_source(tag: str) -> str:
  for tool in _RIGHT.values():
    tag = tag.replace(f'"source": "{tool}"', '"source": "image"')
  return tag


def _fenced(tag: str) -> str:
  return f'\n```\n{tag}\n```\n'


# Each makes a good tag a bad one.
BREAKAGES: tuple[Callable[[str], str], ...] = (
  _no_brace,
  _wrong_key,
  _missing_key,
  _unclosed,
  _unknown_source,
  _fenced,
)
