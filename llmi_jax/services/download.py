"""Files from addresses that somebody else chose: checked at every hop, bounded, decoded defensively."""

import asyncio
import time
from types import TracebackType

import httpx2

from llmi_jax.core.errors import DataError
from llmi_jax.core.image import Image
from llmi_jax.services import images
from llmi_jax.services.addresses import Lookup, Rules, pin, resolve_name
from llmi_jax.services.faults import ServiceFault
from llmi_jax.services.http import Http, Reply, check

MAX_BYTES = 16 << 20
_REDIRECTS = (301, 302, 303, 307, 308)
_HOPS = 4


class Downloader:
  """Fetches without cookies, credentials, proxies or kept connections. An asynchronous context manager."""

  def __init__(
    self,
    rules: Rules = Rules(),
    *,
    connections: int = 16,
    most: int = MAX_BYTES,
    lookup: Lookup = resolve_name,
  ):
    """Makes one.

    Args:
      rules: what may be called, at every hop.
      connections: at once.
      most: bytes of a file.
      lookup: host and port → addresses.
    """
    self._http = Http(connections, keep=False)
    self._rules, self._most, self._lookup = rules, most, lookup

  async def __aenter__(self) -> 'Downloader':
    return self

  async def __aexit__(
    self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
  ) -> None:
    await self._http.__aexit__(kind, error, trace)

  async def fetch(self, url: str, *, until: float) -> Reply:
    """The file behind a URL.

    Args:
      url: http or https.
      until: deadline of everything, a reading of `time.monotonic`.

    Raises:
      ServiceFault: it cannot or must not be had.
    """
    for _ in range(_HOPS + 1):
      reply = await self._hop(url, until)
      if reply.status not in _REDIRECTS:
        return check(reply, httpx2.URL(url).host)
      target = reply.headers.get('location', '')
      try:
        url = str(httpx2.URL(url).join(target))
      except httpx2.InvalidURL as error:
        raise ServiceFault('garbage', f'{reply.url} leads to no URL ({error}).') from error
    raise ServiceFault('garbage', f'{url[:80]} is behind more than {_HOPS} redirects.')

  async def picture(
    self, url: str, *, until: float, source: str = 'input', max_side: int | None = None
  ) -> Image:
    """The picture behind a URL; what the server calls it is not believed.

    Raises:
      ServiceFault: it cannot be had; `garbage` where it is no picture that can be decoded.
    """
    reply = await self.fetch(url, until=until)
    try:
      return await asyncio.to_thread(images.decode, reply.body, source=source, max_side=max_side)
    except DataError as error:
      raise ServiceFault('garbage', f'{url[:80]} is no picture: {error}', transient=False) from error

  async def _hop(self, url: str, until: float) -> Reply:
    """One request, to the first checked address that takes it."""
    pinned = await self._pin(url, until)
    for number, address in enumerate(pinned.addresses, 1):
      where, headers, extensions = pinned.call(address)
      try:
        return await self._http.send(
          'GET', where, until=until, headers=headers, extensions=extensions, most=self._most
        )
      except ServiceFault as fault:
        if fault.cause != 'connection' or number == len(pinned.addresses):
          raise
    raise AssertionError('A pinned URL has an address.')

  async def _pin(self, url: str, until: float):
    try:
      async with asyncio.timeout(max(0.0, until - time.monotonic())):
        return await pin(url, self._rules, self._lookup)
    except TimeoutError as error:
      raise ServiceFault('deadline', f'The host of {url[:80]} was not found in time.') from error
