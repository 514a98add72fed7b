"""HTTP calls that end: bounded in bytes, by one absolute deadline, and harmless to the pool when cancelled.

    async with Http(connections=64) as http:
      reply = await http.send('POST', url, until=time.monotonic() + 30, json=b'{…}')
      check(reply, 'The judge')

httpx2's own timeouts hold per phase, so a server that drips never trips them; the deadline here bounds the
whole call. Redirects are not followed: credentials stay where they were sent (`download` follows them,
without any).
"""

import dataclasses
import email.utils
import json as jsonlib
import time
from collections.abc import AsyncIterator, Mapping
from types import TracebackType
from typing import Any

import httpx2

from llmi_jax.services.faults import ServiceFault
from llmi_jax.services.limits import Overdue, deadline

MAX_BYTES = 32 << 20
_CONNECT_SECONDS = 10.0


@dataclasses.dataclass(frozen=True)
class Reply:
  """A whole reply.

  Attributes:
    status: HTTP status.
    headers: by lower-case name.
    body: the bytes, not encoded.
    url: that answered.
  """

  status: int
  headers: Mapping[str, str]
  body: bytes
  url: str

  def json(self) -> Any:
    """The body as JSON.

    Raises:
      ServiceFault: `garbage`, it is none.
    """
    try:
      return jsonlib.loads(self.body)
    except (ValueError, RecursionError) as error:
      raise ServiceFault('garbage', f'{_place(self.url)} answered with no JSON.') from error


class Http:
  """A pool of connections. Used as an asynchronous context manager, within one event loop."""

  def __init__(self, connections: int = 64, keep: bool = True):
    """`keep=False` opens a connection per call, as calls to untrusted places should."""
    limits = httpx2.Limits(max_connections=connections, max_keepalive_connections=connections if keep else 0)
    self._client = httpx2.AsyncClient(
      limits=limits,
      timeout=httpx2.Timeout(None, connect=_CONNECT_SECONDS),
      follow_redirects=False,
      trust_env=False,  # a proxy from the environment would undo every check of addresses
      headers={'accept-encoding': 'identity', 'user-agent': 'llmi_jax'},
    )

  async def __aenter__(self) -> 'Http':
    return self

  async def __aexit__(
    self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
  ) -> None:
    await self._client.aclose()

  async def send(
    self,
    method: str,
    url: str,
    *,
    until: float,
    json: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    extensions: Mapping[str, Any] | None = None,
    most: int = MAX_BYTES,
  ) -> Reply:
    """Sends a request and reads the whole reply, whatever its status.

    Args:
      method: such as `POST`.
      url: where.
      until: deadline of the whole call, a reading of `time.monotonic`.
      json: sent as the body; encoded by the caller, who may do that off the event loop.
      headers: sent besides the usual ones.
      extensions: of httpx2, such as `sni_hostname`.
      most: bytes that are read.

    Raises:
      ServiceFault: `deadline`, `connection`, `oversize` or `garbage`.
    """
    try:
      async with deadline(until):
        kind = {'content-type': 'application/json'} if json is not None else {}
        request = self._client.build_request(
          method, url, content=json, headers={**kind, **(headers or {})}, extensions=dict(extensions or {})
        )
        response = await self._client.send(request, stream=True)
        try:
          return Reply(response.status_code, dict(response.headers), await _body(response, most), url)
        finally:
          await response.aclose()
    except Overdue as error:
      raise ServiceFault('deadline', f'{_place(url)} did not answer in time.') from error
    except (httpx2.InvalidURL, httpx2.UnsupportedProtocol) as error:
      raise ServiceFault('address', f'{_place(url)} is no address that can be called ({error}).') from error
    except httpx2.HTTPError as error:
      what = str(error) or type(error).__name__
      raise ServiceFault(
        'connection', f'{_place(url)} could not be reached or broke off ({what}).'
      ) from error


async def _body(response: httpx2.Response, most: int) -> bytes:
  if response.headers.get('content-encoding', 'identity') != 'identity':
    raise ServiceFault('garbage', f'{_place(str(response.url))} sent an encoding that was not asked for.')
  parts, length = [], 0
  stream: AsyncIterator[bytes] = response.aiter_raw()
  async for part in stream:
    length += len(part)
    if length > most:
      raise ServiceFault('oversize', f'{_place(str(response.url))} sends more than {most:,} bytes.')
    parts.append(part)
  return b''.join(parts)


def check(reply: Reply, name: str) -> Reply:
  """The reply if its status says success.

  Args:
    reply: of a service.
    name: the service's name at the start of a sentence, such as `The judge`.

  Raises:
    ServiceFault: `busy`, `server` or `refused`.
  """
  if 200 <= reply.status < 300:
    return reply
  said, wait = _said(reply.body), retry_after(reply.headers)
  words = f'{name} answered {reply.status}{f" ({said})" if said else ""}'
  if reply.status == 429:
    spent = b'insufficient_quota' in reply.body[:2000]  # waiting does not pay a bill
    raise ServiceFault('busy', f'{words}.', status=429, retry_after=wait, transient=not spent)
  if reply.status == 408 or reply.status >= 500:
    raise ServiceFault('server', f'{words}.', status=reply.status, retry_after=wait)
  mends = {401: 'check its key', 403: 'check its key', 404: 'check its address and model'}
  mend = mends.get(reply.status, 'check what it accepts')
  raise ServiceFault('refused', f'{words}; {mend}.', status=reply.status)


def retry_after(headers: Mapping[str, str]) -> float | None:
  """Seconds that a reply asks to wait, from seconds or an HTTP date; None where it does not say."""
  text = headers.get('retry-after', '').strip()
  if text.isascii() and text.isdigit():
    return float(text)
  try:
    then = email.utils.parsedate_to_datetime(text).timestamp()
  except ValueError:
    return None
  try:
    now = email.utils.parsedate_to_datetime(headers.get('date', '')).timestamp()  # the service's own clock
  except ValueError:
    now = time.time()
  return max(0.0, then - now)


def _said(body: bytes) -> str:
  """The words of an error reply, one short line."""
  text = body[:2000].decode('utf-8', 'replace')
  try:
    found = jsonlib.loads(text)
  except (ValueError, RecursionError):
    found = text
  for name in ('error', 'message', 'detail'):
    if isinstance(found, dict) and name in found:
      found = found[name]
  return ' '.join(str(found).split())[:200].rstrip('.') if not isinstance(found, dict) else ''


def _place(url: str) -> str:
  """The address without query and credentials, for messages."""
  try:
    parsed = httpx2.URL(url)
  except httpx2.InvalidURL:
    return repr(url[:80])
  return f'{parsed.scheme}://{parsed.host}{f":{parsed.port}" if parsed.port else ""}{parsed.path}'[:200]
