"""How tools fared over many answers: calls that succeeded, and right choices, under two names."""

import collections
from collections.abc import Iterable, Mapping

from llmi_jax.core.answer import Answer
from llmi_jax.eval.numbers import ratio
from llmi_jax.eval.record import Mode
from llmi_jax.eval.table import Figure

# Tool → (calls that succeeded, calls that were attempted).
Calls = Mapping[str, tuple[int, int]]


def calls(answer: Answer) -> dict[str, tuple[int, int]]:
  """Of one answer; malformed tags are no tool's calls."""
  found: dict[str, list[int]] = collections.defaultdict(lambda: [0, 0])
  for outcome in answer.outcomes:
    found[outcome.tool][0] += outcome.status == 'ok'
    found[outcome.tool][1] += 1
  return {tool: (ok, tried) for tool, (ok, tried) in sorted(found.items())}


def figures(items: Iterable[Calls | None], mode: Mode) -> list[Figure]:
  """Invocation success per tool, and over all of them: the paper's "Tool Acc".

  Args:
    items: one per answer; None for answers whose calls are not known.
    mode: without a single call, `repo` calls that success, as the reference does; `fixed` says nothing.
  """
  known = [item for item in items if item is not None]
  tools = sorted({tool for item in known for tool in item})
  figures = [_figure(tool, [item.get(tool, (0, 0)) for item in known]) for tool in tools]
  whole = [(sum(ok for ok, _ in item.values()), sum(n for _, n in item.values())) for item in known]
  last = _figure('all tools', whole)
  if last.value is None and mode == 'repo' and known:
    last = Figure('all tools', 'invocation success', 1.0, 0)
  return [*figures, last]


def _figure(row: str, counts: list[tuple[int, int]]) -> Figure:
  found = ratio([[ok for ok, _ in counts]], [[tried for _, tried in counts]])
  tried = sum(n for _, n in counts)
  return Figure(row, 'invocation success', found.value, tried, low=found.low, high=found.high)
