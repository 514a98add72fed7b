"""An evaluation as pages: tables, and every answer with what was said about it, pictures in place.

`report.html` holds the tables, and the items where they are few; where they are many, they stand on pages
beside it, or each on a page of its own. Every page loads nothing from anywhere (see `report/shell`) and
stays within a bound.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import jinja2
from markupsafe import Markup

from llmi_jax.core.answer import Answer
from llmi_jax.core.image import Image
from llmi_jax.data.rollout import Piece, Rollout, from_answer
from llmi_jax.eval.record import Answered, Judged, Record
from llmi_jax.eval.store import Store
from llmi_jax.eval.table import Table
from llmi_jax.report import shell
from llmi_jax.report.pictures import Pictures
from llmi_jax.report.render import document, request_html
from llmi_jax.services.files import write_atomically

NAME = 'report.html'
EACH = 30  # items of a page
BUDGET = 16 << 20  # bytes of pictures of a page
_TEMPLATES = pathlib.Path(__file__).parent / 'templates'


@dataclasses.dataclass(frozen=True)
class Shown:
  """What pages show of an item.

  Attributes:
    request: texts and pictures, pictures by hash.
    answers: likewise, one or two; an answer that is not there is empty.
    names: of those who wrote them.
  """

  request: tuple[Piece, ...]
  answers: tuple[tuple[Piece, ...], ...]
  names: tuple[str, ...] = ()


def shown(record: Record, answered: Answered) -> Shown:
  """What pages will show of an item."""
  rollouts = [_flat(record, answer) for answer in answered.answers]
  names = tuple(answer.origin if answer else '' for answer in answered.answers)
  return Shown(rollouts[0].request, tuple(r.answer for r in rollouts), names)


def pictures(record: Record, answered: Answered) -> list[Image]:
  """The pictures that pages will show of an item."""
  answers = [answer for answer in answered.answers if answer is not None]
  return [*record.task.input_images, *(p.image for answer in answers for p in answer.pictures)]


def build(
  folder: pathlib.Path, store: Store, tables: Sequence[Table], title: str, apart: bool = False
) -> pathlib.Path:
  """Writes the pages; returns the first.

  Args:
    folder: where.
    store: what was judged, and what is shown of it.
    tables: of the first page.
    title: of all.
    apart: whether every item also has a page of its own, `items/NUMBER.html`.

  Raises:
    StorageError: they cannot be written.
  """
  count = store.counts()['items']
  links, items = [], []
  for number, group in enumerate(_groups(store.shown(Shown))):
    album = Pictures(lambda ref: store.thumbnail(ref.sha256), BUDGET, linked=False)
    cards = [_card(judged, one, album) for judged, one in group]
    if apart:
      for i, card in enumerate(cards, number * EACH + 1):
        _write_items(folder / 'items' / f'{i:04d}.html', title, [card], f'../{NAME}')
    if count <= EACH:
      items = cards
    else:
      name = f'items-{number + 1:04d}.html'
      _write_items(folder / name, title, cards, NAME)
      links.append((name, group[0][0].id, group[-1][0].id))
  body = _render('evaluation.html', title=title, tables=tables, links=links, cards=items)
  write_atomically(folder / NAME, shell.page(title, body).encode())
  return folder / NAME


def _write_items(path: pathlib.Path, title: str, cards: Sequence[dict[str, Any]], back: str) -> None:
  body = _render('items.html', title=title, cards=cards, back=back)
  write_atomically(path, shell.page(f'{title}, items', body).encode())


def _groups(items: Iterable[tuple[Judged, Shown]]) -> Iterator[list[tuple[Judged, Shown]]]:
  group: list[tuple[Judged, Shown]] = []
  for item in items:
    group.append(item)
    if len(group) == EACH:
      yield group
      group = []
  if group:
    yield group


def _card(judged: Judged, one: Shown, album: Pictures) -> dict[str, Any]:
  """An item for the templates."""
  rollouts = [
    Rollout(judged.id, 0, judged.id, 0, request=one.request, answer=pieces) for pieces in one.answers
  ]
  return {
    'item': judged,
    'request': request_html(rollouts[0], album),
    'answers': [(name, document(rollout, album)) for name, rollout in zip(one.names, rollouts)],
  }


def _flat(record: Record, answer: Answer | None) -> Rollout:
  return from_answer(answer or Answer(record.id, ()), record.task)


def _render(name: str, **values: Any) -> Markup:
  return Markup(_environment().get_template(name).render(**values))


@functools.cache
def _environment() -> jinja2.Environment:
  """The report's environment with our templates; escaping and filters are the same."""
  return shell.environment().overlay(loader=jinja2.FileSystemLoader(_TEMPLATES))
