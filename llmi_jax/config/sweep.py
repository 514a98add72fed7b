"""Values of several keys → runs, one for every combination, with names that stay."""

import itertools
import re
from collections.abc import Sequence
from typing import NamedTuple

from llmi_jax.core.errors import ConfigError

_AXIS = re.compile(r'(?:--?)?config\.([\w.]+)=(.+)', re.DOTALL)


class Arm(NamedTuple):
  """One run of a sweep.

  Attributes:
    name: of its folder.
    overrides: `--config.KEY=VALUE` arguments.
  """

  name: str
  overrides: tuple[str, ...]


def arms(axes: Sequence[str]) -> list[Arm]:
  """All combinations of axes such as `config.loss.ratio=token,sequence`, the last axis fastest.

  Raises:
    ConfigError: an axis has another form, or two runs would share a name.
  """
  keys, values = [], []
  for axis in axes:
    match = _AXIS.fullmatch(axis)
    if match is None:
      raise ConfigError(f'--sweep={axis} has no values; write --sweep=config.KEY=VALUE,VALUE.')
    keys.append(match[1])
    values.append(split(match[2]))
  if len(set(keys)) < len(keys):
    raise ConfigError('--sweep names a key twice; list all of its values in one.')
  made = []
  for chosen in itertools.product(*values):
    pairs = list(zip(keys, chosen))
    name = '_'.join(f'{key}={_safe(value)}' for key, value in pairs)
    made.append(Arm(name, tuple(f'--config.{key}={value}' for key, value in pairs)))
  if len({arm.name for arm in made}) < len(made):
    raise ConfigError('Two runs of --sweep would have one name; list every value once.')
  return made


def split(text: str) -> list[str]:
  """Cuts at commas that stand in no bracket and no quotes; `(64,96),(160,)` are two values."""
  parts, depth, quote = [''], 0, ''
  for letter in text:
    if quote:
      quote = '' if letter == quote else quote
    elif letter in '\'"':
      quote = letter
    depth += (letter in '([{') - (letter in ')]}') if not quote else 0
    if letter == ',' and not depth and not quote:
      parts.append('')
    else:
      parts[-1] += letter
  return parts


def _safe(value: str) -> str:
  """A value as part of a folder's name."""
  return re.sub(r'[^\w.+-]+', '-', value).strip('-') or 'empty'
