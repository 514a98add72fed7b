"""Remote providers: equal servers behind one tool; the least busy healthy one takes the next call."""

import asyncio
import dataclasses
import json as jsonlib
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from llmi_jax.core.errors import ConfigError
from llmi_jax.services.breaker import Breaker
from llmi_jax.services.faults import ServiceFault
from llmi_jax.services.http import Http, Reply, check

T = TypeVar('T')
_HEALTH_SECONDS = 10.0
_WINDOW = 12  # calls by which a server's health is told
MAX_REPLY = 64 << 20  # bytes; pictures come as text


@dataclasses.dataclass
class _Server:
  url: str
  breaker: Breaker
  busy: int = 0


class Servers:
  """Calls one provider. Tries once per call; whoever calls it decides on trying again."""

  def __init__(
    self,
    http: Http,
    urls: Sequence[str],
    name: str,
    *,
    headers: Mapping[str, str] | None = None,
    attempt_seconds: float = math.inf,
  ):
    """Makes it.

    Args:
      http: the pool of connections.
      urls: base addresses, without a slash at the end.
      name: of the provider, in messages.
      headers: sent with every call, such as a key.
      attempt_seconds: how long one server may take before another is asked.

    Raises:
      ConfigError: there is no address, or one that is not http.
    """
    if not urls:
      raise ConfigError(f'{name} has no address; name at least one in the config.')
    for url in urls:
      if not url.startswith(('http://', 'https://')):
        raise ConfigError(f'{name} has the address {url!r}; it must begin with http:// or https://.')
    self.name = name
    self._http = http
    self._headers = dict(headers or {})
    self._attempt_seconds = attempt_seconds
    self._servers = [_Server(url.rstrip('/'), Breaker(_WINDOW)) for url in urls]

  async def check_health(self, path: str) -> None:
    """Asks every server whether it is well; the others are left alone for a while.

    Raises:
      ConfigError: none is.
    """
    found = await asyncio.gather(*(self._health(server, path) for server in self._servers))
    if all(found):
      raise ConfigError(f'{self.name} cannot be used: {found[0]} Start it, or mend its address.')
    for server, fault in zip(self._servers, found):
      if fault:
        server.breaker.trip()

  async def ask(
    self,
    method: str,
    path: str,
    read: Callable[[Any], T],
    *,
    until: float,
    json: Any = None,
    content: bytes | None = None,
    headers: Mapping[str, str] | None = None,
  ) -> T:
    """What `read` makes of the JSON of a reply.

    Args:
      method: of HTTP.
      path: appended to the base address.
      read: picks what is wanted; what it raises on other JSON than the protocol's is told as such.
      until: deadline, a reading of `time.monotonic`.
      json: sent as the body.
      content: sent as the body instead, of the type that `headers` say.
      headers: further ones.

    Raises:
      ServiceFault: the provider failed.
    """
    body = await asyncio.to_thread(_encode, json) if json is not None else content
    server = self._choose()
    server.busy += 1
    server.breaker.enter()
    end = min(until, time.monotonic() + self._attempt_seconds)
    try:
      reply = await self._http.send(
        method,
        server.url + path,
        until=end,
        json=body,
        headers={**self._headers, **(headers or {})},
        most=MAX_REPLY,
      )
      answer = await asyncio.to_thread(_read, check(reply, self.name), read, self.name)
    except ServiceFault as fault:
      # One slow server is no slow provider: the next may be quicker.
      fault.transient = fault.transient or (fault.cause == 'deadline' and end < until)
      server.breaker.leave(fault)
      raise
    except BaseException:
      server.breaker.abandon()
      raise
    finally:
      server.busy -= 1
    server.breaker.leave()
    return answer

  def gauges(self) -> dict[str, float]:
    """Numbers for metrics."""
    breakers = [server.breaker for server in self._servers]
    return {
      'breakers_open': float(sum(breaker.state != 'closed' for breaker in breakers)),
      'breaker_trips': float(sum(breaker.trips for breaker in breakers)),
    }

  def _choose(self) -> _Server:
    able = [server for server in self._servers if server.breaker.admits()]
    if not able:
      wait = min(server.breaker.remaining for server in self._servers)
      raise ServiceFault('breaker', f'{self.name} keeps failing and is left alone.', retry_after=wait)
    # One that fails at once is never busy: its failures count as load, or all calls would go there.
    return min(able, key=lambda server: server.busy + server.breaker.row)

  async def _health(self, server: _Server, path: str) -> str:
    """Why a server cannot be used, or an empty text."""
    until = time.monotonic() + _HEALTH_SECONDS
    try:
      check(await self._http.send('GET', server.url + path, until=until, headers=self._headers), self.name)
    except ServiceFault as fault:
      return str(fault)
    return ''


def _encode(data: Any) -> bytes:
  return jsonlib.dumps(data).encode()


def _read(reply: Reply, read: Callable[[Any], T], name: str) -> T:
  data = reply.json()
  try:
    return read(data)
  except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
    raise ServiceFault(
      'garbage', f'{name} answered other than its protocol says ({error!r:.100}).'
    ) from error
