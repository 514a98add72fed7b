"""Where a config comes from: a Python file's `get_config`, YAML, JSON, or the folder of a run."""

import difflib
import importlib.util
import json
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

import yaml
from ml_collections import ConfigDict

from llmi_jax.config import override
from llmi_jax.core.errors import ConfigError

FOLDER = 'configs'  # beside the working directory or the package
STORED = 'config.json'  # in a run's folder


def read(path: str | None, overrides: Sequence[str] = ()) -> ConfigDict:
  """A config's values with `--config.KEY=VALUE` arguments applied.

  Args:
    path: a Python file with an optional `:argument`, a YAML or JSON file, or a run's folder.
    overrides: applied in order.

  Raises:
    ConfigError: no such file, a file that fails, an unknown key (with a suggestion), a value of another type.
  """
  if not path:
    raise ConfigError('No config was named; add --config=configs/grpo_tiny.py.')
  config = _config(path)
  for one in overrides:
    override.apply(config, one)
  return config.lock()


def file(path: str) -> pathlib.Path:
  """The file that holds the config of a path as `read` takes it.

  Raises:
    ConfigError: there is none; a near name is suggested.
  """
  name = pathlib.Path(path)
  if not name.exists():
    name = pathlib.Path(path.partition(':')[0])
  if (name / STORED).is_file():
    return name / STORED
  if name.is_dir():
    raise ConfigError(f'{name} is a folder without a {STORED}, so it is no run; name a config file.')
  if not name.is_file():
    near = difflib.get_close_matches(name.name, [p.name for p in name.parent.glob('*.py')], 1)
    hint = f'did you mean {name.parent / near[0]}?' if near else f'{FOLDER}/ holds the recipes.'
    raise ConfigError(f'{name} does not exist; {hint}')
  return name


def known() -> list[pathlib.Path]:
  """The files of the configs folder that have a `get_config`, by name."""
  folders = (pathlib.Path(FOLDER), pathlib.Path(__file__).resolve().parents[2] / FOLDER)
  folder = next((f for f in folders if f.is_dir()), folders[0])
  return [p for p in sorted(folder.glob('*.py')) if 'def get_config' in p.read_text()]


def _config(path: str) -> ConfigDict:
  found = file(path)
  if found.suffix in ('.yaml', '.yml', '.json'):
    return _values(found)
  _, _, argument = path.partition(':')
  config = _python(found, argument or None)
  if not isinstance(config, ConfigDict):
    raise ConfigError(
      f'get_config() of {found} returns a {type(config).__name__}; make it return a ConfigDict.'
    )
  return config


def _values(path: pathlib.Path) -> ConfigDict:
  """The values that a file spells out. It has no tuples; all sequences of configs are."""
  try:
    text = path.read_text()
    found = json.loads(text) if path.suffix == '.json' else yaml.safe_load(text)
  except (ValueError, yaml.YAMLError, OSError) as error:
    why = (str(error).splitlines() or [''])[0]
    raise ConfigError(f'{path} cannot be read ({why}); --print_config shows the form.') from error
  if not isinstance(found, dict):
    raise ConfigError(f'{path} holds no keys with values; --print_config shows the form.')
  return ConfigDict(_tuples(found))


def _tuples(value: Any) -> Any:
  if isinstance(value, dict):
    return {str(key): _tuples(item) for key, item in value.items()}
  return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _python(path: pathlib.Path, argument: str | None) -> Any:
  spec = importlib.util.spec_from_file_location('llmi_jax_config', path)
  if spec is None or spec.loader is None:
    raise ConfigError(f'{path} is no config; name a .py, .yaml or .json file, or the folder of a run.')
  module = importlib.util.module_from_spec(spec)
  root = str(path.resolve().parent.parent)
  if root not in sys.path:
    sys.path.insert(0, root)  # so that a config may import its neighbours as configs.NAME
  try:
    spec.loader.exec_module(module)
    if not hasattr(module, 'get_config'):
      raise ConfigError(f'{path} has no get_config(); see configs/grpo_tiny.py for the form.')
    return module.get_config(argument)
  except (SyntaxError, ImportError, NameError, AttributeError, TypeError, ValueError, KeyError) as error:
    words = (str(error).splitlines() or [''])[0]
    raise ConfigError(f'{path} cannot be read ({type(error).__name__}: {words}).') from error
