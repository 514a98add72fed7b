"""The viewer's pages: a list with one rollout beside it, and a comparison."""

import functools
import pathlib
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote, urlencode

import jinja2
import numpy as np
import pyarrow.compute as pc
from markupsafe import Markup

from llmi_jax.data.rollout import PictureRef
from llmi_jax.report import shell
from llmi_jax.report.pictures import Shown
from llmi_jax.report.render import Limits, Sibling, render
from llmi_jax.view import compare, query
from llmi_jax.view.index import Index
from llmi_jax.view.query import PAGE, Query

LIMITS = Limits(pieces=1_000, characters=1_000_000, text=60_000, raw=60_000)
BESIDE = 100  # prompts of one page of a comparison
_TEMPLATES = pathlib.Path(__file__).parent / 'templates'
KEYS = (
  ('j k', 'next, previous rollout of the list'),
  ('n p', 'next, previous sample of the group'),
  ('/', 'search'),
  ('t', 'light or dark'),
  ('?', 'these keys'),
)


class Album:
  """The pictures of one run by the addresses under which the viewer gives them out."""

  def __init__(self, run: str):
    self._run = quote(run, safe='')

  def show(self, ref: PictureRef) -> Shown:
    """A thumbnail, and the original in full size behind it."""
    small, full = (f'/{kind}/{self._run}/{ref.sha256}' for kind in ('thumbnail', 'picture'))
    return Shown(small, '', ref.width, ref.height, full)


def browse(asked: Query, index: Index) -> tuple[str, str]:
  """The list and the open rollout; the page and its policy."""
  found = query.rows(asked, index)
  last = max(0, (len(found) - 1) // PAGE)
  page = min(asked.page, last)
  shown = found[page * PAGE : (page + 1) * PAGE]
  body = _render(
    'browse.html',
    index=index,
    q=asked,
    rows=[_row(int(row), asked, index) for row in shown],
    count=len(found),
    page=page,
    last=last,
    numbers=index.numbers,
    tools=query.tools(index),
    low=dict(asked.low),
    high=dict(asked.high),
    sides=dict(asked.sides),
    detail=_detail(asked, index),
    keys_=KEYS,
    live=any(not run.finished for run in index.runs),
  )
  title = asked.open or ', '.join(run.name for run in index.runs)
  return shell.live(f'{title}, rollouts', body)


def side_by_side(
  chosen: Sequence[compare.Side], figure: str, page: int, opened: str, index: Index
) -> tuple[str, str]:
  """The comparison; the page and its policy."""
  aligned = compare.align(index, chosen, figure)
  last = max(0, (len(aligned) - 1) // BESIDE)
  page = min(page, last)
  to = functools.partial(_comparison, chosen, figure)
  one = next((a for a in aligned if a.task == opened), None)
  body = _render(
    'compare.html',
    index=index,
    chosen=chosen,
    known=[*compare.sides(index), *compare.sides(index, 'train')],
    figure=figure,
    numbers=[name for name in index.numbers if name != 'step'],
    figures=list(compare.differences(index, chosen)),
    warnings=compare.warnings(index, chosen, aligned),
    rows=[(a, to(page, a.task), _pair(a, index)) for a in aligned[page * BESIDE : (page + 1) * BESIDE]],
    count=len(aligned),
    up=compare.better,
    higher=sum((a.delta or 0) > 0 for a in aligned),
    lower=sum((a.delta or 0) < 0 for a in aligned),
    page=page,
    last=last,
    to=to,
    opened=one,
    cards=_cards(one, chosen, figure, index) if one else [],
    keys_=(('j k', 'next, previous prompt'), *KEYS[2:]),
  )
  return shell.live(f'{" and ".join(map(str, chosen))}, compared', body)


def refused(words: str) -> tuple[str, str]:
  """A page that says why there is no other."""
  return shell.live('Not shown', _render('refused.html', words=words))


def _detail(asked: Query, index: Index) -> Markup:
  """The open rollout, or why it is not shown."""
  if not asked.open:
    return Markup('')
  row = index.find(asked.open, asked.of)
  rollout = None if row is None else index.read(row)
  if row is None or rollout is None:
    return Markup('<p class="notice">There is no rollout {} in these runs.</p>').format(asked.open)
  about = index.about(row)
  here = asked.address()
  raw = '/raw' + query.Query(open=asked.open, of=asked.of).parameters()
  card = render(
    rollout,
    Album(about['run']),
    siblings=_siblings(about, asked, index),
    href=here,
    limits=LIMITS,
  )
  return _render('detail.html', card=card, raw=raw, back=asked.address(open='', of=''))


def _siblings(about: dict[str, Any], asked: Query, index: Index) -> list[Sibling]:
  """The samples of a row's group, each with its address."""
  table = index.table
  mask = np.ones(table.num_rows, bool)
  for name in ('run', 'kind', 'step', 'task'):
    same = pc.call_function('equal', [table[name], about[name]])
    mask &= same.to_numpy(zero_copy_only=False)
  group = table.filter(mask).select(['run', 'id', 'sample', 'reward', 'advantage', 'kind']).to_pylist()
  return [
    Sibling(
      one['sample'],
      one['reward'],
      one['advantage'],
      asked.address(open=f'{one["run"]}/{one["id"]}', of=one['kind']),
    )
    for one in group
  ]


def _row(row: int, asked: Query, index: Index) -> dict[str, Any]:
  """A line of the list."""
  about = index.about(row)
  address = f'{about["run"]}/{about["id"]}'
  parts = [(part, about[f'reward_{part}']) for part in index.parts]
  href = asked.address(open=address, of=about['kind'])
  return about | {'href': href, 'address': address, 'parts': parts, 'open': address == asked.open}


def _pair(aligned: compare.Aligned, index: Index) -> list[tuple[Shown, str] | None]:
  """The first picture of each side's first sample that has one."""
  pairs = []
  for rows in aligned.rows:
    row = next((r for r in rows if index.table['pictures'][r].as_py()), None)
    sha256 = index.table['picture'][row].as_py() if row is not None else ''
    run = index.table['run'][row].as_py() if row is not None else ''
    pairs.append((Album(run).show(PictureRef(sha256, 96, 96)), run) if sha256 else None)
  return pairs


def _cards(
  aligned: compare.Aligned, chosen: Sequence[compare.Side], figure: str, index: Index
) -> list[tuple[compare.Side, Markup]]:
  """The sample of a prompt that tells most of the difference, on every side."""
  made = []
  number = compare.telling(index, aligned, figure)
  for side, rows in zip(chosen, aligned.rows):
    row = next((r for r in rows if index.table['sample'][r].as_py() == number), rows[0] if rows else None)
    rollout = None if row is None else index.read(row)
    if row is None or rollout is None:
      made.append((side, Markup('<p class="notice">This side has no sample of the prompt.</p>')))
      continue
    about = index.about(row)
    label = f'{side}, sample {about["sample"]} of {len(rows)}'
    asked = Query(open=f'{about["run"]}/{about["id"]}', of=about['kind'])
    card = render(rollout, Album(about['run']), label=label, href=asked.address(), limits=LIMITS)
    made.append((side, card))
  return made


def _comparison(chosen: Sequence[compare.Side], figure: str, page: int = 0, opened: str = '') -> str:
  """The address of a comparison."""
  fields = [*(('side', str(side)) for side in chosen), ('by', figure), ('page', page or ''), ('open', opened)]
  return '/compare?' + urlencode([pair for pair in fields if pair[1] != ''], safe='/@:')


def _render(name: str, **values: Any) -> Markup:
  return Markup(_environment().get_template(name).render(**values))


@functools.cache
def _environment() -> jinja2.Environment:
  """The report's environment with our templates beside its own; escaping and filters are the same."""
  theirs = shell.environment().loader
  assert theirs is not None
  return shell.environment().overlay(
    loader=jinja2.ChoiceLoader([jinja2.FileSystemLoader(_TEMPLATES), theirs])
  )
