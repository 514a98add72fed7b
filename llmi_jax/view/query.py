"""What a page is to show: read from its address, written back into addresses, applied to an index."""

import dataclasses
import math
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlencode

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from llmi_jax.view.index import Index

PAGE = 60  # rows of a list
_WORDS = 12  # of a search that count
# Two-sided filters: a field's name, and whether a row has it.
SIDES = ('errors', 'truncated', 'unscorable')


@dataclasses.dataclass(frozen=True)
class Query:
  """The state of a list.

  Attributes:
    runs: names; none for all.
    kind: `train`, `eval` or both where empty.
    words: all of them must occur in name, question or response.
    tool: must have been called.
    sides: `errors`, `truncated`, `unscorable` → whether they must or must not be there.
    low: the least value of a number, by name.
    high: the greatest.
    sort: a number's name, with `-` before it for the greatest first; empty for the latest step first.
    page: of the list, from 0.
    open: the address of the rollout that is shown whole.
    of: the kind of that rollout, where its address alone is not enough.
  """

  runs: tuple[str, ...] = ()
  kind: str = ''
  words: str = ''
  tool: str = ''
  sides: tuple[tuple[str, bool], ...] = ()
  low: tuple[tuple[str, float], ...] = ()
  high: tuple[tuple[str, float], ...] = ()
  sort: str = ''
  page: int = 0
  open: str = ''
  of: str = ''

  def address(self, **changes: Any) -> str:
    """The address of this state with some changes; only what differs from the plain list is in it."""
    return '/' + self.parameters(**changes)

  def parameters(self, **changes: Any) -> str:
    """Likewise, from the question mark on; empty for the plain list."""
    one = dataclasses.replace(self, **changes)
    fields: list[tuple[str, Any]] = [('run', run) for run in one.runs]
    fields += [('kind', one.kind), ('q', one.words), ('tool', one.tool)]
    fields += [(name, 'yes' if wanted else 'no') for name, wanted in one.sides]
    fields += [(f'min.{name}', f'{value:g}') for name, value in one.low]
    fields += [(f'max.{name}', f'{value:g}') for name, value in one.high]
    fields += [('sort', one.sort), ('page', one.page or ''), ('open', one.open), ('of', one.of)]
    told = urlencode([pair for pair in fields if pair[1] != ''], safe='/')
    return f'?{told}' if told else ''


def read(fields: Iterable[tuple[str, str]], index: Index) -> Query:
  """Reads an address's fields; what no list knows is left out."""
  pairs = list(fields)
  one = {name: value.strip() for name, value in pairs}
  known, numbers = {run.name for run in index.runs}, index.numbers
  bounds = lambda side: tuple(
    (name, value) for name in numbers if (value := _number(one.get(f'{side}.{name}', ''))) is not None
  )
  sort = one.get('sort', '')
  return Query(
    runs=tuple(dict.fromkeys(v for n, v in pairs if n == 'run' and v in known)),
    kind=one.get('kind', '') if one.get('kind') in ('train', 'eval') else '',
    words=one.get('q', ''),
    tool=one.get('tool', ''),
    sides=tuple((name, one[name] == 'yes') for name in SIDES if one.get(name) in ('yes', 'no')),
    low=bounds('min'),
    high=bounds('max'),
    sort=sort if sort.removeprefix('-') in numbers else '',
    page=max(int(one['page']), 0) if one.get('page', '').isascii() and one.get('page', '').isdigit() else 0,
    open=one.get('open', ''),
    of=one.get('of', '') if one.get('of') in ('train', 'eval') else '',
  )


def rows(query: Query, index: Index) -> np.ndarray:
  """Numbers of the rows that a list has, in order; all of them, whatever the page."""
  table = index.table
  keep = np.ones(table.num_rows, bool)
  if query.runs:
    keep &= _array(pc.call_function('is_in', [table['run']], pc.SetLookupOptions(pa.array(query.runs))))
  if query.kind:
    keep &= _array(pc.call_function('equal', [table['kind'], pa.scalar(query.kind)]))
  if query.tool:
    keep &= _contains(table['tools'], f' {query.tool} ')
  for name, wanted in query.sides:
    keep &= _side(name, index) == wanted
  for name, value in query.low:
    keep &= index.number(name) >= value
  for name, value in query.high:
    keep &= index.number(name) <= value
  for word in query.words.lower().split()[:_WORDS]:
    keep &= _contains(table['text'], word)
  return _sorted(np.flatnonzero(keep), query.sort, index)


def tools(index: Index) -> list[str]:
  """Every tool that any row has called."""
  told = pc.call_function('unique', [index.table['tools']]).to_pylist()
  return sorted({tool for names in told for tool in names.split()})


def _sorted(found: np.ndarray, sort: str, index: Index) -> np.ndarray:
  """Rows by a number, those without it last; of equals, and where none is named, the latest step first."""
  steps = index.number('step')[found]
  samples = index.number('sample')[found]
  order = np.lexsort((samples, -steps))
  if sort:
    values = index.number(sort.removeprefix('-'))[found][order]
    values = -values if sort.startswith('-') else values
    order = order[np.argsort(np.where(np.isnan(values), np.inf, values), kind='stable')]
  return found[order]


def _side(name: str, index: Index) -> np.ndarray:
  if name == 'errors':
    return index.number('errors') > 0
  if name == 'unscorable':
    return np.isnan(index.number('reward'))
  return _array(index.table['truncated'])


def _contains(column: Any, pattern: str) -> np.ndarray:
  return _array(pc.call_function('match_substring', [column], pc.MatchSubstringOptions(pattern)))


def _array(mask: Any) -> np.ndarray:
  return mask.to_numpy(zero_copy_only=False).astype(bool)


def _number(text: str) -> float | None:
  try:
    value = float(text)
  except ValueError:
    return None
  return value if math.isfinite(value) else None
