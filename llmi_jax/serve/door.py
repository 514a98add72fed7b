"""Who is let in, on which address, with how much: the same for every server."""

import hmac
import ipaddress
import os

from absl import flags
from starlette.requests import Request

from llmi_jax.core.errors import ConfigError

HOST = flags.DEFINE_string('host', '127.0.0.1', 'Address to listen on.')
PORT = flags.DEFINE_integer('port', None, 'Port to listen on; each server has its own default.')


class Refused(Exception):
  """A request that is not served.

  Attributes:
    status: of HTTP.
  """

  def __init__(self, words: str, status: int = 400):
    super().__init__(words)
    self.status = status


def key(variable: str, host: str) -> str:
  """The bearer token that requests must show, from an environment variable; empty where none is needed.

  Raises:
    ConfigError: others than this machine would be served without one.
  """
  found = os.environ.get(variable, '')
  if not found and not _is_loopback(host):
    raise ConfigError(f'--host={host} lets others in; set {variable} first, or serve 127.0.0.1 alone.')
  return found


def admit(request: Request, key: str) -> None:
  """Lets a request in, or raises `Refused`."""
  shown = request.headers.get('authorization', '')
  if key and not hmac.compare_digest(shown.encode(), f'Bearer {key}'.encode()):
    raise Refused('The key is missing or wrong.', 401)


async def body(request: Request, most: int) -> bytes:
  """The body, counted while it comes; raises `Refused` beyond `most` bytes."""
  parts, length = [], 0
  async for part in request.stream():
    length += len(part)
    if length > most:
      raise Refused(f'The request has more than {most:,} bytes.', 413)
    parts.append(part)
  return b''.join(parts)


def _is_loopback(host: str) -> bool:
  try:
    return host == 'localhost' or ipaddress.ip_address(host).is_loopback
  except ValueError:
    return False
