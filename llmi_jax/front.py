"""What every command line here has in common: a config file, typed overrides, errors in one sentence.

    python -m llmi_jax.main --config=configs/grpo_tiny.py --config.steps=20 --config.loss.ratio=sequence

`--config=FILE[:ARG]` calls the file's `get_config(ARG)`; `--config.KEY=VALUE` replaces a value by one of the
same type.
"""

import ast
import difflib
import importlib.util
import json
import pathlib
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from absl import app, flags, logging
from ml_collections import ConfigDict

from llmi_jax.core.errors import ConfigError, Interrupted, LlmiError

_OVERRIDE = re.compile(r'--config\.([\w.]+)=(.*)', re.DOTALL)
FAILED, INTERRUPTED = 2, 130


def run(main: Callable[[ConfigDict], None], config_required: bool = True) -> None:
  """Parses the command line, calls `main` with the config and exits: 0, 2 after an error, 130 if stopped."""
  overrides = [arg for arg in sys.argv[1:] if _OVERRIDE.fullmatch(arg)]
  rest = [sys.argv[0], *(arg for arg in sys.argv[1:] if arg not in overrides)]
  flags.DEFINE_string(
    'config', None, 'Config file, such as configs/grpo_tiny.py, with an optional :argument.'
  )

  def call(arguments: Sequence[str]) -> None:
    if len(arguments) > 1:
      raise ConfigError(f'{arguments[1]!r} is no flag; did you mean --{arguments[1].lstrip("-")}?')
    main(read(flags.FLAGS.config, overrides) if flags.FLAGS.config or config_required else ConfigDict())

  def guarded(arguments: Sequence[str]) -> None:
    # Orbax tells of every file it writes, and logs in full what it also raises.
    logging.set_verbosity(logging.FATAL)
    try:
      call(arguments)
    except Interrupted as error:
      print(f'\n{error}', file=sys.stderr)
      sys.exit(INTERRUPTED)
    except LlmiError as error:
      print(f'Error: {error}', file=sys.stderr)
      sys.exit(FAILED)

  app.run(guarded, argv=rest)


def read(path: str | None, overrides: Sequence[str] = ()) -> ConfigDict:
  """A config file's values with `--config.KEY=VALUE` arguments applied.

  Raises:
    ConfigError: no such file, a file that fails, an unknown key (with a suggestion), a value of another type.
  """
  if not path:
    raise ConfigError('No config was named; add --config=configs/grpo_tiny.py.')
  name, _, argument = path.partition(':')
  config = _load(pathlib.Path(name))(argument or None)
  if not isinstance(config, ConfigDict):
    raise ConfigError(
      f'get_config() of {name} returns a {type(config).__name__}; make it return a ConfigDict.'
    )
  for override in overrides:
    match = _OVERRIDE.fullmatch(override)
    assert match, override
    _replace(config, match[1], match[2])
  return config.lock()


def flatten(config: ConfigDict, prefix: str = '') -> Iterator[tuple[str, Any]]:
  """Dotted keys and values."""
  for key, value in config.items():
    if isinstance(value, ConfigDict):
      yield from flatten(value, f'{prefix}{key}.')
    else:
      yield f'{prefix}{key}', value


def difference(config: ConfigDict, stored: str) -> list[str]:
  """Keys whose values differ from a stored JSON config's; a sentence's worth each."""
  old = dict(flatten(ConfigDict(json.loads(stored))))
  new = dict(flatten(ConfigDict(json.loads(config.to_json()))))
  keys = sorted(old.keys() | new.keys())
  return [f'{k} was {old.get(k)!r} and is {new.get(k)!r}' for k in keys if old.get(k) != new.get(k)]


def _load(path: pathlib.Path) -> Callable[[str | None], Any]:
  if not path.is_file():
    near = difflib.get_close_matches(path.name, [p.name for p in path.parent.glob('*.py')], 1)
    hint = f'did you mean {path.parent / near[0]}?' if near else 'configs/ holds the recipes.'
    raise ConfigError(f'{path} does not exist; {hint}')
  spec = importlib.util.spec_from_file_location('llmi_jax_config', path)
  assert spec and spec.loader
  module = importlib.util.module_from_spec(spec)
  root = str(path.resolve().parent.parent)
  if root not in sys.path:
    sys.path.insert(0, root)  # so that a config may import its neighbours as configs.NAME
  try:
    spec.loader.exec_module(module)
  except (SyntaxError, ImportError, NameError, AttributeError, TypeError, ValueError) as error:
    raise ConfigError(f'{path} cannot be read ({type(error).__name__}: {error}).') from error
  if not hasattr(module, 'get_config'):
    raise ConfigError(f'{path} has no get_config(); see configs/grpo_tiny.py for the form.')
  return module.get_config


def _replace(config: ConfigDict, key: str, text: str) -> None:
  known = dict(flatten(config))
  if key not in known:
    near = difflib.get_close_matches(key, known, 1, 0.5)
    hint = f'did you mean config.{near[0]}?' if near else f'known are {", ".join(sorted(known))}.'
    raise ConfigError(f'The config has no key {key!r}; {hint}')
  node: Any = config
  *path, last = key.split('.')
  for name in path:
    node = node[name]
  node[last] = _typed(key, text, known[key])


def _typed(key: str, text: str, old: Any) -> Any:
  """`text` as a value of `old`'s type."""
  if isinstance(old, str):
    return text
  try:
    value = ast.literal_eval({'true': 'True', 'false': 'False', 'null': 'None'}.get(text.lower(), text))
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
  return value


def _article(noun: str) -> str:
  return f'an {noun}' if noun[0] in 'aeiou' else f'a {noun}'
