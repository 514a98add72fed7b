"""Addresses that servers listen on."""

import os
import socket

from llmi_jax.core.errors import ConfigError


def listen(port: int, host: str = '127.0.0.1') -> socket.socket:
  """A socket on an address, taken before anything is loaded for it; port 0 takes any free one.

  Raises:
    ConfigError: it is taken, or is none of this machine.
  """
  family = socket.AF_INET6 if ':' in host else socket.AF_INET
  try:
    return socket.create_server((host, port), family=family)
  except (OSError, OverflowError) as error:
    words = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
    raise ConfigError(
      f'Port {port} of {host} cannot be listened on ({words}); choose another one with --port.'
    ) from error
