"""How well a call carries out a wanted picture: the right words, numbers, kind of chart, change, position."""

import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from llmi_jax.core import wording
from llmi_jax.core.rubric import Edits, Paints, Plots, Shows

Wanted = Shows | Plots | Edits | Paints

# The tool that each kind of wanted picture is made with.
TOOL = {Shows: 'search', Plots: 'code', Edits: 'edit', Paints: 'diffusion'}

_MOST_NUMBERS = 64
_NUMBER = re.compile(r'(?<![\w.])-?\d{1,12}(?:\.\d{1,6})?(?![\w.])')
_LIST = re.compile(r'[\[(]([^\[\]()]{0,2000})[\])]')
_KINDS = {
  'line': re.compile(r'\.plot\s*\(|\.plot\.line\b|\blineplot\b|kind\s*=\s*[\'"]line'),
  'bar': re.compile(r'\.barh?\s*\(|\bbarplot\b|kind\s*=\s*[\'"]bar'),
  'pie': re.compile(r'\.pie\s*\(|kind\s*=\s*[\'"]pie'),
  'hist': re.compile(r'\.hist\s*\(|\bhistplot\b|kind\s*=\s*[\'"]hist'),
}


def of_params(wanted: Wanted, tool: str, params: Mapping[str, Any]) -> float:
  """How far a call's parameters ask for the wanted picture, in [0, 1]; 0 for another tool than its own.

  `shows`: the query holds the subject's words; `paints`: the prompt does. `plots`: seven tenths for the
  numbers, in order, three for the kind of chart. `edits`: six tenths for the words of the change, four for
  the picture it is done to.
  """
  if tool != TOOL[type(wanted)]:
    return 0.0
  if isinstance(wanted, Shows):
    return wording.recall(wanted.what, str(params.get('query', '')))
  if isinstance(wanted, Paints):
    return wording.recall(wanted.what, str(params.get('prompt', '')))
  if isinstance(wanted, Plots):
    code = str(params.get('code', ''))[: wording.MOST_CHARACTERS]
    return 0.7 * likeness(wanted.values, code) + 0.3 * (wanted.kind in kinds(code))
  change = wording.recall(wanted.change, str(params.get('prompt', '')))
  return 0.6 * change + 0.4 * (params.get('img_index') == wanted.index)


def likeness(values: Sequence[float], code: str) -> float:
  """How far some list in the code holds the values in their order (`difflib` ratio), in [0, 1]."""
  lists = [_numbers(found[1]) for found in _LIST.finditer(code)]
  return max((_ratio(values, found) for found in (*lists, _numbers(code)) if found), default=0.0)


def kinds(code: str) -> set[str]:
  """The kinds of chart that the code draws."""
  return {kind for kind, pattern in _KINDS.items() if pattern.search(code)}


def _numbers(text: str) -> list[float]:
  return [float(number) for number in _NUMBER.findall(text)[:_MOST_NUMBERS]]


def _ratio(values: Sequence[float], found: Sequence[float]) -> float:
  return difflib.SequenceMatcher(None, tuple(values), tuple(found), autojunk=False).ratio()


def assign(scores: Sequence[Sequence[float]]) -> list[int | None]:
  """Gives each row at most one column and each column at most one row, the highest scores first.

  Args:
    scores: one row per call or picture, one column per wanted picture; zeros are never assigned.

  Returns:
    For every row its column, or None.
  """
  pairs = sorted(
    (
      (score, row, column)
      for row, line in enumerate(scores)
      for column, score in enumerate(line)
      if score > 0
    ),
    key=lambda pair: (-pair[0], pair[1], pair[2]),
  )
  chosen: dict[int, int] = {}
  for _, row, column in pairs:
    if row not in chosen and column not in chosen.values():
      chosen[row] = column
  return [chosen.get(row) for row in range(len(scores))]
