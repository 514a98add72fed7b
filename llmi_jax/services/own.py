"""Files of the user's own, outside the package, that make a part of a run."""

import importlib.util
import pathlib
from typing import Any

from llmi_jax.core.errors import ConfigError


def make(path: str, maker: str, key: str) -> Any:
  """What `maker()` of a file returns. The file is run as it stands: it is the user's own code.

  Args:
    path: of the file.
    maker: name of the function.
    key: of the config, that names the file.

  Raises:
    ConfigError: there is no such file or function, or it fails.
  """
  file = pathlib.Path(path)
  if not file.is_file():
    raise ConfigError(f'The file {path} does not exist; check {key}.')
  spec = importlib.util.spec_from_file_location(f'llmi_jax_own_{file.stem}', file)
  assert spec and spec.loader
  module = importlib.util.module_from_spec(spec)
  try:
    spec.loader.exec_module(module)
    made = getattr(module, maker)() if callable(getattr(module, maker, None)) else None
  # The one place where a user's file runs: whatever is wrong with it is told in one sentence.
  except Exception as error:
    raise ConfigError(f'The file {path} fails ({type(error).__name__}: {error}).') from error
  if made is None:
    raise ConfigError(f'The file {path} has no {maker}() that returns something; {key} names it.')
  return made
