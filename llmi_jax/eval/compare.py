"""Two finished evaluations, item by item."""

import pathlib
from collections.abc import Sequence

from llmi_jax.core.errors import ConfigError
from llmi_jax.eval.numbers import Difference, paired
from llmi_jax.eval.store import Store

# Settings without which two runs have nothing to do with each other.
_SAME = ('benchmark', 'mode')
# Settings that make a comparison doubtful where they differ.
_DOUBTFUL = ('records', 'judge', 'judge_temperature', 'prompts', 'image_pixels', 'hint', 'offline')


def compare(first: str | pathlib.Path, second: str | pathlib.Path) -> tuple[list[Difference], list[str]]:
  """Differences, second − first, and warnings.

  Raises:
    ConfigError: a folder holds no evaluation, or they are of other benchmarks or modes.
  """
  stores = [Store(folder, read_only=True) for folder in (first, second)]
  try:
    settings = [store.settings() for store in stores]
    for name in _SAME:
      values = [found.get(name) for found in settings]
      if values[0] != values[1]:
        raise ConfigError(
          f'{first} has {name} {values[0]!r} and {second} {values[1]!r}; they do not belong in one table.'
        )
    warnings = [
      f'{name} was {settings[0].get(name)!r} in the first and {settings[1].get(name)!r} in the second run.'
      for name in _DOUBTFUL
      if settings[0].get(name) != settings[1].get(name)
    ]
    figures = [_figures(store) for store in stores]
  finally:
    for store in stores:
      store.close()
  names = list(dict.fromkeys((*figures[0], *figures[1])))
  return [paired(n, figures[0].get(n, {}), figures[1].get(n, {})) for n in names], warnings


def _figures(store: Store) -> dict[str, dict[str, float]]:
  """Figure → item → value; floor-filled ones included, missing ones not."""
  found: dict[str, dict[str, float]] = {}
  for item in store.items():
    for value in item.values if not item.lost else ():
      mine = found.setdefault(value.name, {})
      if value.value is not None:
        mine[item.id] = value.value
  return found


def markdown(differences: Sequence[Difference], warnings: Sequence[str]) -> str:
  """A table for people."""
  lines = [
    '| figure | second − first | 95 % interval | n | better | worse | in one run only |',
    '|---' * 7 + '|',
  ]
  for d in differences:
    numbers = ['–' if x is None else f'{x:+.3f}' for x in (d.mean, d.low, d.high)]
    interval = f'{numbers[1]} to {numbers[2]}' if d.low is not None else '–'
    lines.append(f'| {d.name} | {numbers[0]} | {interval} | {d.n} | {d.better} | {d.worse} | {d.alone} |')
  return '\n'.join([*lines, '', *(f'Warning: {words}' for words in warnings)]).rstrip() + '\n'
