"""`--config.KEY=VALUE`: a known key, a value of the type that it has."""

import ast
import difflib
import re
from collections.abc import Collection
from typing import Any

from ml_collections import ConfigDict

from llmi_jax.config.plain import flatten
from llmi_jax.core.errors import ConfigError

FORM = re.compile(r'--?config\.([\w.]+)=(.*)', re.DOTALL)
BARE = re.compile(r'--?config\.([\w.]+)')
_WORDS = {'true': 'True', 'false': 'False', 'null': 'None'}


def apply(config: ConfigDict, argument: str) -> None:
  """Replaces one value.

  Raises:
    ConfigError: the key is unknown (the nearest is named), or its value has another type.
  """
  key, text = check(argument)
  values = dict(flatten(config))
  if key not in values:
    raise ConfigError(f'The config has no key {key!r}; {_hint(key, values)}')
  node: Any = config
  *path, last = key.split('.')
  for name in path:
    node = node[name]
  node[last] = typed(key, text, values[key])


def check(argument: str) -> tuple[str, str]:
  """The key and the text of its value.

  Raises:
    ConfigError: the argument has another form.
  """
  match = FORM.fullmatch(argument)
  if match is None:
    bare = BARE.fullmatch(argument)
    raise ConfigError(
      f'{argument} has no value; write --config.{bare[1] if bare else "KEY"}=VALUE, without spaces.'
    )
  return match[1], match[2]


def typed(key: str, text: str, old: Any) -> Any:
  """`text` as a value of `old`'s type.

  Raises:
    ConfigError: it is of another.
  """
  if isinstance(old, str):
    return text
  try:
    value = ast.literal_eval(_WORDS.get(text.lower(), text))
  except (ValueError, SyntaxError):
    value = text
  if isinstance(old, float) and isinstance(value, int) and not isinstance(value, bool):
    value = float(value)
  if isinstance(old, tuple) and isinstance(value, list):
    value = tuple(value)
  if old is not None and type(value) is not type(old):
    raise ConfigError(
      f'config.{key} is {text!r}; it must be {_article(type(old).__name__)}, such as {old!r}.'
    )
  kinds = {type(item) for item in old} if isinstance(old, tuple) else set()
  if len(kinds) == 1 and isinstance(value, tuple) and any(type(item) not in kinds for item in value):
    raise ConfigError(
      f'config.{key} is {text!r}; it must be a tuple of {kinds.pop().__name__}, such as {old!r}.'
    )
  return value


def _hint(key: str, values: Collection[str]) -> str:
  inside = [name for name in values if name.startswith(f'{key}.')]
  if inside:
    return f'it is a group of {len(inside)}, such as config.{inside[0]}.'
  near = difflib.get_close_matches(key, values, 1, 0.5)
  if not near:  # the right name in the wrong group, or in none
    last = {name.rpartition('.')[2]: name for name in reversed(list(values))}
    near = [last[name] for name in difflib.get_close_matches(key.rpartition('.')[2], last, 1, 0.8)]
  return f'did you mean config.{near[0]}?' if near else '--help beside --config lists all.'


def _article(noun: str) -> str:
  return f'an {noun}' if noun[0] in 'aeiou' else f'a {noun}'
