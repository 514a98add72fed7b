import asyncio
import io
import socket
import time

import numpy as np
import pytest
from PIL import Image as Pil

from llmi_jax.services.addresses import Rules, is_public, pin, resolve_name
from llmi_jax.services.download import Downloader
from llmi_jax.services.faults import ServiceFault


@pytest.mark.parametrize(
  'address',
  [
    '127.0.0.1',
    '10.1.2.3',
    '172.16.0.1',
    '192.168.1.1',
    '169.254.169.254',
    '100.64.0.1',
    '0.0.0.0',
    '224.0.0.1',
    '240.0.0.1',
    '255.255.255.255',
    '192.88.99.1',
    '::1',
    '::',
    'fe80::1',
    'fe80::1%eth0',
    'fc00::1',
    'fec0::1',
    'ff02::1',
    '::ffff:127.0.0.1',
    '::ffff:8.8.8.8',
    '::127.0.0.1',
    '64:ff9b::7f00:1',
    '64:ff9b:1::1',
    '2002:7f00:1::',
    '2001:0:1::1',
    'nonsense',
  ],
)
def test_addresses_that_are_not_public(address):
  assert not is_public(address)


@pytest.mark.parametrize('address', ['8.8.8.8', '93.184.216.34', '2606:4700::1111', '2a00:1450:4001::1'])
def test_public_addresses(address):
  assert is_public(address)


def finder(*addresses):
  async def lookup(host, port):
    return list(addresses)

  return lookup


def refusal(url, rules=Rules(), lookup=resolve_name):
  with pytest.raises(ServiceFault) as raised:
    asyncio.run(pin(url, rules, lookup))
  return raised.value


@pytest.mark.parametrize(
  'url',
  [
    'http://127.0.0.1/',
    'http://127.1/',
    'http://2130706433/',
    'http://0x7f000001/',
    'http://[::1]/',
    'http://[::ffff:127.0.0.1]/',
    'http://localhost/',
    'http://１２７.０.０.１/',
  ],
)
def test_every_way_to_write_this_machine_is_refused(url):
  assert refusal(url).cause in ('address', 'connection')


@pytest.mark.parametrize(
  'url',
  [
    'file:///etc/passwd',
    'ftp://8.8.8.8/',
    'data:text/plain,x',
    'gopher://8.8.8.8/',
    '//8.8.8.8/',
    'http://',
    'http://user:secret@8.8.8.8/',
    'http://8.8.8.8:22/',
    'https://8.8.8.8:6379/',
    'http://[::1',
    'x' * 100,
  ],
)
def test_other_schemes_ports_and_credentials_are_refused(url):
  fault = refusal(url, lookup=finder('8.8.8.8'))
  assert fault.cause == 'address' and not fault.transient and 'secret' not in str(fault)


def test_one_bad_address_among_good_ones_refuses_the_name():
  assert refusal('http://both.example/', lookup=finder('8.8.8.8', '10.0.0.1')).cause == 'address'


def test_a_pinned_url_goes_to_what_was_checked_and_still_names_its_host():
  pinned = asyncio.run(pin('https://a.example/x?y=1', lookup=finder('8.8.8.8', '2606:4700::1111')))
  assert pinned.call('8.8.8.8') == (
    'https://8.8.8.8/x?y=1',
    {'host': 'a.example'},
    {'sni_hostname': 'a.example'},
  )
  assert pinned.call('2606:4700::1111')[0] == 'https://[2606:4700::1111]/x?y=1'


class Files:
  """A tiny file server: path → (status, headers, body)."""

  def __init__(self, pages):
    self.pages, self.hosts = pages, []

  async def __aenter__(self):
    self._server = await asyncio.start_server(self._one, '127.0.0.1', 0)
    self.port = self._server.sockets[0].getsockname()[1]
    return self

  async def __aexit__(self, *_):
    self._server.close()

  async def _one(self, reader, writer):
    head = (await reader.readuntil(b'\r\n\r\n')).decode()
    self.hosts.append(next(row[6:] for row in head.split('\r\n') if row.lower().startswith('host: ')))
    status, headers, body = self.pages[head.split()[1]]
    rows = ''.join(f'{name}: {value}\r\n' for name, value in headers.items())
    writer.write(f'HTTP/1.1 {status} X\r\n{rows}connection: close\r\n\r\n'.encode() + body)
    await writer.drain()
    writer.close()


def png(side=8):
  buffer = io.BytesIO()
  Pil.fromarray(np.full((side, side, 3), 7, np.uint8)).save(buffer, 'PNG')
  return buffer.getvalue()


def fetch(pages, path, *, picture=False, lookup=None, rules=None, most=1 << 20, seconds=5.0):
  async def main():
    async with Files(pages) as files:

      async def local(host, port):
        return ['127.0.0.1'] if host == 'here.example' else await resolve_name(host, port)

      allowed = rules or Rules(private=True, ports=())
      async with Downloader(allowed, most=most, lookup=lookup or local) as downloader:
        url = f'http://here.example:{files.port}{path}'
        until = time.monotonic() + seconds
        got = await (downloader.picture if picture else downloader.fetch)(url, until=until)
        return got, files

  return asyncio.run(main())


def test_a_picture_is_what_it_decodes_to_whatever_it_is_called():
  image, files = fetch({'/a': (200, {'content-type': 'text/html'}, png())}, '/a', picture=True)
  assert (image.width, image.height) == (8, 8)
  assert files.hosts == [f'here.example:{files.port}']


def fault_of(*args, **kwargs):
  with pytest.raises(ServiceFault) as raised:
    fetch(*args, **kwargs)
  return raised.value


def test_a_page_called_a_picture_is_none():
  assert (
    fault_of({'/a': (200, {'content-type': 'image/png'}, b'<html>')}, '/a', picture=True).cause == 'garbage'
  )


def test_redirects_are_followed_and_bounded():
  pages = {
    '/a': (302, {'location': '/b'}, b''),
    '/b': (200, {}, b'there'),
    '/c': (302, {'location': '/c'}, b''),
  }
  assert fetch(pages, '/a')[0].body == b'there'
  assert 'redirects' in str(fault_of(pages, '/c'))


@pytest.mark.parametrize(
  'target',
  ['http://169.254.169.254/meta', 'file:///etc/passwd', 'http://[::1]/', 'http://10.0.0.1/', 'ftp://x/'],
)
def test_every_hop_is_checked(target):
  """The first host is allowed by its name here; where it leads is not."""

  async def lookup(host, port):
    if host == 'here.example':
      return ['127.0.0.1']
    return await resolve_name(host, port)

  async def main():
    async with Files({'/a': (302, {'location': target}, b'')}) as files:
      async with Downloader(Rules(ports=()), lookup=lookup) as downloader:
        downloader._rules = _FirstOnly(files.port)
        await downloader.fetch(f'http://here.example:{files.port}/a', until=time.monotonic() + 5)

  with pytest.raises(ServiceFault) as raised:
    asyncio.run(main())
  assert raised.value.cause == 'address'


class _FirstOnly:
  """Private addresses are allowed once."""

  def __init__(self, port):
    self._left, self.ports = 1, ()

  @property
  def private(self):
    self._left -= 1
    return self._left >= 0


def test_a_name_that_changes_its_mind_is_called_where_it_was_checked():
  """Rebinding: the second answer is never asked for."""
  answers = iter([['127.0.0.1'], ['10.0.0.1']])

  async def lookup(host, port):
    return next(answers)

  reply, _ = fetch({'/a': (200, {}, b'x')}, '/a', lookup=lookup)
  assert reply.body == b'x' and next(answers) == ['10.0.0.1']


def test_bytes_are_counted_while_they_come():
  assert fault_of({'/a': (200, {}, b'x' * 5000)}, '/a', most=4096).cause == 'oversize'


def test_an_encoding_that_was_not_asked_for_is_refused():
  assert fault_of({'/a': (200, {'content-encoding': 'gzip'}, b'x')}, '/a').cause == 'garbage'


def test_the_second_address_is_called_when_the_first_is_dead():
  with socket.socket() as unused:
    unused.bind(('127.0.0.2', 0))
    reply, _ = fetch({'/a': (200, {}, b'x')}, '/a', lookup=finder('127.0.0.2', '127.0.0.1'))
  assert reply.body == b'x'


def test_a_slow_resolver_ends_at_the_deadline():
  async def lookup(host, port):
    await asyncio.sleep(60)
    return []

  assert fault_of({}, '/a', lookup=lookup, seconds=0.05).cause == 'deadline'
