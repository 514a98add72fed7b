"""What every command line here has in common: a config file, typed overrides, errors in one sentence.

    python -m llmi_jax.main --config=configs/grpo_tiny.py --config.steps=20 --config.loss.ratio=sequence

`--config=FILE[:ARG]` calls the file's `get_config(ARG)`, or reads a YAML or JSON file, or the config of a
run's folder; `--config.KEY=VALUE` replaces a value by one of the same type. Without a config, those that
there are are listed. Beside one, `--help` lists its keys and `--print_config` prints it as YAML;
`--diff_config=A,B` says where two differ. All of that, and every mistake in a config, comes before a device
is touched.
"""

import sys
from collections.abc import Callable, Sequence
from logging import INFO, StreamHandler, getLogger
from typing import NoReturn

from absl import app, flags, logging
from ml_collections import ConfigDict

from llmi_jax.config import listing, override, plain, source
from llmi_jax.config.plain import difference, flatten
from llmi_jax.config.source import read
from llmi_jax.core.errors import ConfigError, Interrupted, LlmiError

__all__ = ['CONFIG', 'FAILED', 'INTERRUPTED', 'difference', 'flatten', 'overrides', 'read', 'run']

FAILED, INTERRUPTED = 2, 130
CONFIG = flags.DEFINE_string(
  'config', None, 'Config: a file such as configs/grpo_tiny.py, with an optional :argument, or a run.'
)
_PRINT = flags.DEFINE_bool('print_config', False, 'Print the config as YAML, and end.')
_DIFF = flags.DEFINE_string(
  'diff_config', None, 'Two configs or runs, A,B: print where they differ, and end.'
)


def run(main: Callable[[ConfigDict], None], config_required: bool = True) -> None:
  """Parses the command line, calls `main` with the config and exits: 0, 2 after an error, 130 if stopped."""
  own = overrides()
  helps = '--help' in sys.argv and any(arg.startswith('--config=') for arg in sys.argv)
  rest = [arg for arg in sys.argv if arg not in own and not (helps and arg == '--help')]

  def call(arguments: Sequence[str]) -> None:
    for one in own:
      override.check(one)
    if len(arguments) > 1:
      raise ConfigError(f'{arguments[1]!r} is no flag; did you mean --{arguments[1].lstrip("-")}?')
    if _DIFF.value:
      print(_differences(_DIFF.value))
    elif not CONFIG.value:
      if config_required:
        _list()
      main(ConfigDict())
    elif helps:
      print(listing.fields(read(CONFIG.value, own), source.file(CONFIG.value)))
    elif _PRINT.value:
      print(plain.to_yaml(read(CONFIG.value, own)), end='')
    else:
      main(read(CONFIG.value, own))

  def guarded(arguments: Sequence[str]) -> None:
    # Orbax tells of every file it writes, and logs in full what it also raises.
    logging.set_verbosity(logging.FATAL)
    own_words = getLogger('llmi_jax')
    own_words.propagate = False
    own_words.setLevel(INFO)
    own_words.addHandler(StreamHandler())
    try:
      call(arguments)
    except Interrupted as error:
      print(f'\n{error}', file=sys.stderr)
      sys.exit(INTERRUPTED)
    except LlmiError as error:
      _fail(error)

  app.run(guarded, argv=rest, flags_parser=_parse)


def overrides() -> list[str]:
  """The command line's `--config.KEY=VALUE` arguments, well formed or not."""
  return [arg for arg in sys.argv[1:] if arg.startswith(('--config.', '-config.'))]


def _parse(arguments: Sequence[str]) -> list[str]:
  try:
    return flags.FLAGS(arguments)
  except flags.Error as error:
    _fail(ConfigError((str(error).splitlines() or [''])[0]))


def _fail(error: LlmiError) -> NoReturn:
  print(f'Error: {error}', file=sys.stderr)
  sys.exit(FAILED)


def _list() -> NoReturn:
  print('Name a config with --config=FILE; beside it, --help lists its keys. There are:', file=sys.stderr)
  print(listing.configs(source.known()), file=sys.stderr)
  sys.exit(FAILED)


def _differences(pair: str) -> str:
  names = pair.split(',')
  if len(names) != 2:
    raise ConfigError(f'--diff_config={pair} names {len(names)} configs; give two, as A,B.')
  found = plain.changes(*map(read, names))
  return listing.table(found, (names[0], names[1])) if found else 'No difference.'
