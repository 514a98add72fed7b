"""Tools of the user's own: a file outside the package whose `get_tool()` returns a `Tool`."""

from llmi_jax.core.errors import ConfigError
from llmi_jax.services import own
from llmi_jax.tools.registry import Tool


def load(path: str) -> Tool:
  """The tool that a file makes.

  Raises:
    ConfigError: there is no such file, it fails, or it makes no tool.
  """
  tool = own.make(path, 'get_tool', 'config.tools.names')
  if not isinstance(tool, Tool):
    raise ConfigError(f'{path} has no get_tool() that returns a Tool; docs/own_tool.md shows one.')
  return tool
