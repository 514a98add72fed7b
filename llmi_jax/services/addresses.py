"""Which addresses may be called on behalf of untrusted text: resolved once, checked, then pinned.

`ipaddress` alone is not enough: it calls NAT64 (`64:ff9b::7f00:1`), 6to4 (`2002:7f00:1::`), site-local and
multicast addresses global, and names such as `127.1` or `2130706433` resolve to this machine. So names are
resolved here, every address of the answer must be public, and the connection goes to the address that was
checked.
"""

import asyncio
import dataclasses
import ipaddress
import socket
from collections.abc import Awaitable, Callable

import httpx2

from llmi_jax.services.faults import ServiceFault

Lookup = Callable[[str, int], Awaitable[list[str]]]

# Ranges that carry another address inside, or that `is_global` lets through.
_NEVER = tuple(
  ipaddress.ip_network(text)
  for text in (
    '64:ff9b::/96',  # NAT64
    '64:ff9b:1::/48',  # NAT64, local use
    '2002::/16',  # 6to4
    '2001::/32',  # Teredo
    '::/96',  # IPv4-compatible
    '::ffff:0:0/96',  # IPv4-mapped
    'fec0::/10',  # site-local
    '192.88.99.0/24',  # 6to4 relays
  )
)


@dataclasses.dataclass(frozen=True)
class Rules:
  """What may be called.

  Attributes:
    private: addresses of this machine and its networks too; for tests and for services of one's own.
    ports: the only ports; empty for all.
  """

  private: bool = False
  ports: tuple[int, ...] = (80, 443)


@dataclasses.dataclass(frozen=True)
class Pinned:
  """A URL with the addresses that it was found to mean.

  Attributes:
    url: as given.
    addresses: checked, in the resolver's order.
  """

  url: httpx2.URL
  addresses: tuple[str, ...]

  def call(self, address: str) -> tuple[str, dict[str, str], dict[str, str]]:
    """(URL, headers, extensions) that go to `address` and still name the host, for TLS and the server."""
    url = self.url.copy_with(host=address)
    return str(url), {'host': self.url.netloc.decode()}, {'sni_hostname': self.url.host}


async def resolve_name(host: str, port: int) -> list[str]:
  """The system resolver's addresses."""
  loop = asyncio.get_running_loop()
  found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
  return [str(entry[4][0]) for entry in found]


async def pin(url: str, rules: Rules = Rules(), lookup: Lookup = resolve_name) -> Pinned:
  """Resolves the host of a URL and checks everything that it means.

  Raises:
    ServiceFault: `address` (a scheme, port or address that must not be called), `connection` (no such host).
  """
  try:
    parsed = httpx2.URL(url)
  except httpx2.InvalidURL as error:
    raise _refused(f'{url[:80]!r} is no URL ({error})') from error
  if parsed.scheme not in ('http', 'https') or not parsed.host:
    raise _refused(f'{url[:80]!r} is no http or https address')
  if parsed.userinfo:
    raise _refused(f'The address of {parsed.host} carries credentials')
  port = parsed.port or {'http': 80, 'https': 443}[parsed.scheme]
  if rules.ports and port not in rules.ports:
    raise _refused(f'Port {port} of {parsed.host} is none of {", ".join(map(str, rules.ports))}')
  try:
    found = await lookup(parsed.host, port)
  except (OSError, UnicodeError) as error:
    raise ServiceFault('connection', f'There is no host {parsed.host[:80]} ({error}).') from error
  if not found:
    raise ServiceFault('connection', f'There is no host {parsed.host[:80]}.')
  for address in found:
    if not rules.private and not is_public(address):
      raise _refused(f'{parsed.host[:80]} is {address}, which is not a public address')
  return Pinned(parsed, tuple(dict.fromkeys(found)))


def is_public(address: str) -> bool:
  """Whether a literal address belongs to the public internet and nothing else."""
  try:
    parsed = ipaddress.ip_address(address)
  except ValueError:
    return False
  if getattr(parsed, 'scope_id', None):
    return False
  if any(parsed.version == network.version and parsed in network for network in _NEVER):
    return False
  special = parsed.is_multicast or parsed.is_unspecified or parsed.is_reserved or parsed.is_link_local
  return parsed.is_global and not special and not parsed.is_loopback and not parsed.is_private


def _refused(words: str) -> ServiceFault:
  return ServiceFault('address', f'{words}.')
