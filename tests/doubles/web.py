"""A web server over a real socket that speaks whatever protocol it is told and misbehaves on demand.

    async with WebServer(lambda ask: Act(json={'hello': 1})) as server:
      ... server.url ...

It stands for services that cannot be reached from a test. It binds to 127.0.0.1 only.
"""

import asyncio
import dataclasses
import json as jsonlib
import urllib.parse
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np

from llmi_jax.services import images


@dataclasses.dataclass(frozen=True)
class Ask:
  """One request.

  Attributes:
    number: 1 for the server's first.
    path: without the query.
    query: name → value.
  """

  number: int
  method: str
  path: str
  query: dict[str, str]
  headers: dict[str, str]
  body: bytes

  @property
  def json(self) -> Any:
    return jsonlib.loads(self.body)


@dataclasses.dataclass(frozen=True)
class Act:
  """What the server does with one request.

  Attributes:
    json: sent as the body where `body` is None.
    body: sent as it is.
    kind: `send`; `hang`; `drip` (a byte now and then); `cut` (half the body, then the end); `die`.
    seconds: before anything is sent.
  """

  json: Any = None
  body: bytes | None = None
  status: int = 200
  headers: tuple[tuple[str, str], ...] = ()
  kind: str = 'send'
  seconds: float = 0.0
  type: str = 'application/json'


class WebServer:
  """Serves what its script says.

  Attributes:
    asks: every request so far.
    most: requests under way at the same time, at most.
    url: base URL.
  """

  def __init__(self, script: Callable[[Ask], Act]):
    self.asks: list[Ask] = []
    self.most = self.busy = 0
    self.url = ''
    self._script = script
    self._work: set[asyncio.Task] = set()

  async def __aenter__(self) -> 'WebServer':
    self._server = await asyncio.start_server(self._connected, '127.0.0.1', 0, backlog=2048)
    self.port = self._server.sockets[0].getsockname()[1]
    self.url = f'http://127.0.0.1:{self.port}'
    return self

  async def __aexit__(self, *_):
    self._server.close()
    for work in tuple(self._work):
      work.cancel()
    await asyncio.gather(*self._work, return_exceptions=True)

  async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter):
    task = asyncio.current_task()
    assert task
    self._work.add(task)
    try:
      while await self._one(reader, writer):
        pass
    except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
      pass
    finally:
      self._work.discard(task)
      writer.close()

  async def _one(self, reader, writer) -> bool:
    head = (await reader.readuntil(b'\r\n\r\n')).decode()
    line, *rows = head.split('\r\n')
    headers = {name.lower(): value for name, _, value in (row.partition(': ') for row in rows if row)}
    body = await reader.readexactly(int(headers.get('content-length', 0)))
    method, target, _ = line.split()
    parsed = urllib.parse.urlsplit(target)
    query = dict(urllib.parse.parse_qsl(parsed.query))
    ask = Ask(len(self.asks) + 1, method, parsed.path, query, headers, body)
    self.asks.append(ask)
    self.busy += 1
    self.most = max(self.most, self.busy)
    try:
      return await self._act(writer, self._script(ask))
    finally:
      self.busy -= 1

  async def _act(self, writer, act: Act) -> bool:
    await asyncio.sleep(act.seconds)
    if act.kind == 'die':
      return False
    if act.kind == 'hang':
      await asyncio.sleep(3600)
    data = act.body if act.body is not None else jsonlib.dumps(act.json).encode()
    rows = [('content-type', act.type), ('content-length', str(len(data))), *act.headers]
    head = f'HTTP/1.1 {act.status} X\r\n' + ''.join(f'{k}: {v}\r\n' for k, v in rows) + '\r\n'
    writer.write(head.encode())
    if act.kind == 'drip':
      for byte in data:
        writer.write(bytes((byte,)))
        await writer.drain()
        await asyncio.sleep(0.05)
    writer.write(data[: len(data) // 2] if act.kind == 'cut' else data)
    await writer.drain()
    return act.kind == 'send'


def picture(width: int = 48, height: int = 32, shade: int = 200):
  """A small picture with something in it."""
  pixels = np.full((height, width, 3), shade, np.uint8)
  pixels[: height // 2, :, 0] = 255 - shade
  return images.from_array(pixels)


def bomb(side: int = 10_000) -> bytes:
  """A PNG that says it has `side`² pixels, with the first rows of them."""

  def chunk(kind: bytes, body: bytes) -> bytes:
    return len(body).to_bytes(4, 'big') + kind + body + zlib.crc32(kind + body).to_bytes(4, 'big')

  head = side.to_bytes(4, 'big') * 2 + bytes((8, 2, 0, 0, 0))
  rows = zlib.compress(bytes((side * 3 + 1) * 100), 9)
  return b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', head) + chunk(b'IDAT', rows) + chunk(b'IEND', b'')
