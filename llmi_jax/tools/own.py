"""Tools of the user's own: a file outside the package whose `get_tool()` returns a `Tool`."""

import importlib.util
import pathlib

from llmi_jax.core.errors import ConfigError
from llmi_jax.tools.registry import Tool


def load(path: str) -> Tool:
  """The tool that a file makes. The file is run as it stands: it is the user's own code.

  Raises:
    ConfigError: there is no such file, it fails, or it makes no tool.
  """
  file = pathlib.Path(path)
  if not file.is_file():
    raise ConfigError(f'The tool file {path} does not exist; check config.tools.names.')
  spec = importlib.util.spec_from_file_location(f'llmi_jax_own_{file.stem}', file)
  assert spec and spec.loader
  module = importlib.util.module_from_spec(spec)
  try:
    spec.loader.exec_module(module)
    make = getattr(module, 'get_tool', None)
    tool = make() if callable(make) else None
  # The one place where a user's file runs: whatever is wrong with it is told in one sentence.
  except Exception as error:
    raise ConfigError(f'The tool file {path} fails ({type(error).__name__}: {error}).') from error
  if not isinstance(tool, Tool):
    raise ConfigError(
      f'The tool file {path} has no get_tool() that returns a Tool; docs/own_tool.md shows one.'
    )
  return tool
