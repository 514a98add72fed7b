"""The families of requests: what is asked for, under which image rule, with which tools.

A family draws its content and returns a `Sketch`: the clauses of the request and the pictures that a right
answer holds. A new tool's tasks are one more function and one more row of `FAMILIES`.
"""

import dataclasses
import random
from collections.abc import Callable
from typing import Protocol

from llmi_jax.core.image import Image
from llmi_jax.core.rubric import Edits, Paints, Plots, Shows, numbers
from llmi_jax.core.task import ImageRule
from llmi_jax.data.builtin.topics import VERBS

Wanted = Shows | Plots | Edits | Paints


@dataclasses.dataclass(frozen=True)
class Sketch:
  """A task's content before it is worded.

  Attributes:
    clauses: what to show; they fit after `show` and are joined by commas and `and`.
    about: what the text must speak of.
    wanted: the pictures of a right answer, in order.
    inputs: pictures that the message holds.
    changes: what to do to the last picture, in order; they stand after `, then`.
  """

  clauses: tuple[str, ...]
  about: tuple[str, ...]
  wanted: tuple[Wanted, ...]
  inputs: tuple[Image, ...] = ()
  changes: tuple[str, ...] = ()


class Content(Protocol):
  """Where a family's words, numbers and pictures come from: a split's topics or the whole vocabulary."""

  rng: random.Random

  def subjects(self, count: int) -> tuple[str, ...]:
    """Different things that photographs show."""
    ...

  def series(self, count: int) -> tuple[str, ...]:
    """Different names of rows of numbers."""
    ...

  def values(self, *, few: bool = False) -> tuple[float, ...]:
    """A row of three to five one- or two-digit numbers that was not drawn before; three where `few`."""
    ...

  def changes(self, subject: str | None, count: int) -> tuple[str, ...]:
    """Different things to do to a picture of `subject` (None: to a chart)."""
    ...

  def picture(self, subject: str) -> Image:
    """A picture of the subject."""
    ...

  def scenes(self, count: int) -> tuple[str, ...]:
    """Different things that only a painter shows."""
    ...


Draw = Callable[[Content], Sketch]


@dataclasses.dataclass(frozen=True)
class Family:
  """One kind of request.

  Attributes:
    name: stands in the task's category.
    rule: its image rule.
    draw: makes a sketch.
    weight: how many of every hundred tasks are of this family.
  """

  name: str
  rule: ImageRule
  draw: Draw
  weight: int


def real(what: str, rng: random.Random) -> str:
  """Asks for a photograph without naming search."""
  return rng.choice((f'{what} in real life', f'a real view of {what}', f'the true look of {what}'))


def imagined(what: str, rng: random.Random) -> str:
  """Asks for a painting without naming diffusion."""
  return rng.choice(
    (f'{what} in a made-up world', f'a dreamt view of {what}', f'the imagined look of {what}')
  )


def chart(content: Content, name: str, kind: str | None = None, *, few: bool = False) -> tuple[str, Plots]:
  """Asks for a chart by what it is to show, of few numbers where there are many pictures."""
  kind = kind or content.rng.choice(tuple(VERBS))
  values = content.values(few=few)
  clause = f'how {name} of {numbers(values)} {content.rng.choice(VERBS[kind])}'
  return clause, Plots(values, kind, name)


def photographs(count: int) -> Draw:
  def draw(content: Content) -> Sketch:
    names = content.subjects(count)
    clauses = (real(names[0], content.rng),) if count == 1 else (*names[:-1], f'{names[-1]} in real life')
    return Sketch(clauses, names, tuple(Shows(n) for n in names))

  return draw


def chart_of(kind: str | None = None) -> Draw:
  def draw(content: Content) -> Sketch:
    (name,) = content.series(1)
    clause, plot = chart(content, name, kind)
    return Sketch((clause,), (name,), (plot,))

  return draw


def charts(count: int) -> Draw:
  """One series seen in several ways."""

  def draw(content: Content) -> Sketch:
    (name,) = content.series(1)
    kinds = content.rng.sample(tuple(VERBS), count)
    clause, plot = chart(content, name, kinds[0], few=count > 2)
    more = tuple(content.rng.choice(VERBS[kind]) for kind in kinds[1:])
    plots = tuple(Plots(plot.values, kind, name) for kind in kinds)
    return Sketch((clause, *more), (name,), plots)

  return draw


def photographs_and_chart(count: int) -> Draw:
  def draw(content: Content) -> Sketch:
    names = content.subjects(count)
    (name,) = content.series(1)
    clause, plot = chart(content, name, few=count > 1)
    seen = (real(names[0], content.rng),) if count == 1 else (*names[:-1], f'{names[-1]} in real life')
    return Sketch((*seen, clause), (*names, name), (*(Shows(n) for n in names), plot))

  return draw


def edit_input(content: Content) -> Sketch:
  (what,) = content.subjects(1)
  (change,) = content.changes(what, 1)
  picture = content.picture(what)
  return Sketch((f'this picture of {what}',), (what,), (Edits(change, 0, what),), (picture,), (change,))


def edit_second_input(content: Content) -> Sketch:
  first, what = content.subjects(2)
  (change,) = content.changes(what, 1)
  pictures = (content.picture(first), content.picture(what))
  return Sketch((f'picture 1, {what}',), (what,), (Edits(change, 1, what),), pictures, (change,))


def edit_twice(content: Content) -> Sketch:
  (what,) = content.subjects(1)
  changes = content.changes(what, 2)
  wanted = tuple(Edits(change, index, what) for index, change in enumerate(changes))
  return Sketch((f'this picture of {what}',), (what,), wanted, (content.picture(what),), changes)


def search_then_edit(content: Content) -> Sketch:
  (what,) = content.subjects(1)
  (change,) = content.changes(what, 1)
  wanted = (Shows(what), Edits(change, 0, what))
  return Sketch((real(what, content.rng),), (what,), wanted, changes=(change,))


def code_then_edit(content: Content) -> Sketch:
  (name,) = content.series(1)
  clause, plot = chart(content, name)
  (change,) = content.changes(None, 1)
  return Sketch((clause,), (name,), (plot, Edits(change, 0, name)), changes=(change,))


def paintings(count: int) -> Draw:
  def draw(content: Content) -> Sketch:
    names = content.scenes(count)
    clauses = (
      (imagined(names[0], content.rng),) if count == 1 else (*names[:-1], f'{names[-1]} in a made-up world')
    )
    return Sketch(clauses, names, tuple(Paints(n) for n in names))

  return draw


def photograph_and_painting(content: Content) -> Sketch:
  (seen,), (dreamt,) = content.subjects(1), content.scenes(1)
  clauses = (real(seen, content.rng), imagined(dreamt, content.rng))
  return Sketch(clauses, (seen, dreamt), (Shows(seen), Paints(dreamt)))


def paint_then_edit(content: Content) -> Sketch:
  (what,) = content.scenes(1)
  (change,) = content.changes(None, 1)
  wanted = (Paints(what), Edits(change, 0, what))
  return Sketch((imagined(what, content.rng),), (what,), wanted, changes=(change,))


def words_on_subject(content: Content) -> Sketch:
  (what,) = content.subjects(1)
  return Sketch((what,), (what,), ())


def words_on_series(content: Content) -> Sketch:
  (name,) = content.series(1)
  clause, _ = chart(content, name)
  return Sketch((clause,), (name,), ())


_NONE, _FREE, _SOME = ImageRule('none'), ImageRule('free'), ImageRule('at_least_one')
_ONE, _TWO, _THREE, _FOUR = (ImageRule('exactly', n) for n in (1, 2, 3, 4))

FAMILIES = (
  Family('words/subject', _NONE, words_on_subject, 6),
  Family('words/series', _NONE, words_on_series, 4),
  Family('search/one', _ONE, photographs(1), 14),
  Family('search/free', _FREE, photographs(1), 4),
  Family('search/some', _SOME, photographs(1), 4),
  Family('search/two', _TWO, photographs(2), 4),
  Family('search/three', _THREE, photographs(3), 2),
  Family('search/four', _FOUR, photographs(4), 2),
  Family('code/line', _ONE, chart_of('line'), 5),
  Family('code/bar', _ONE, chart_of('bar'), 5),
  Family('code/pie', _ONE, chart_of('pie'), 5),
  Family('code/hist', _ONE, chart_of('hist'), 5),
  Family('code/free', _FREE, chart_of(), 2),
  Family('code/some', _SOME, chart_of(), 2),
  Family('code/two', _TWO, charts(2), 4),
  Family('code/three', _THREE, charts(3), 2),
  Family('edit/input', _ONE, edit_input, 10),
  Family('edit/second_input', _ONE, edit_second_input, 2),
  Family('edit/twice', _TWO, edit_twice, 2),
  Family('search+edit', _TWO, search_then_edit, 6),
  Family('code+edit', _TWO, code_then_edit, 2),
  Family('search+code/two', _TWO, photographs_and_chart(1), 4),
  Family('search+code/three', _THREE, photographs_and_chart(2), 2),
  Family('search+code/four', _FOUR, photographs_and_chart(3), 2),
  Family('diffusion/one', _ONE, paintings(1), 14),
  Family('diffusion/free', _FREE, paintings(1), 3),
  Family('diffusion/some', _SOME, paintings(1), 3),
  Family('diffusion/two', _TWO, paintings(2), 4),
  Family('search+diffusion', _TWO, photograph_and_painting, 4),
  Family('diffusion+edit', _TWO, paint_then_edit, 4),
)
