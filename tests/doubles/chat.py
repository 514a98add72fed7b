"""A server that speaks the chat protocol over a real socket and misbehaves as it is told.

    async with ChatServer(lambda body, number: Act('text', 'hello')) as server:
      ... server.url ...

It stands for services that cannot be reached from a test. It binds to 127.0.0.1 only.
"""

import asyncio
import dataclasses
import json
from collections.abc import Callable
from typing import Any


@dataclasses.dataclass(frozen=True)
class Act:
  """What the server does with one request.

  Attributes:
    kind: `text` (a completion), `raw` (this body), `status` (an error), `hang`, `drip` (a byte now and then),
      `die` (closes without a word), `cut` (half a completion).
    text: the completion's text, the raw body, or the error's message.
    status: HTTP status.
    headers: further ones.
    seconds: before anything is sent.
    finish: the finish reason.
  """

  kind: str = 'text'
  text: str = ''
  status: int = 200
  headers: tuple[tuple[str, str], ...] = ()
  seconds: float = 0.0
  finish: str = 'stop'


Script = Callable[[dict[str, Any], int], Act]


class ChatServer:
  """Serves `/v1/models` and `/v1/chat/completions`.

  Attributes:
    requests: bodies of the completions that were asked for.
    most: calls under way at the same time, at most.
    url: base URL.
  """

  def __init__(self, script: Script, models: tuple[str, ...] = ('double',), port: int = 0):
    self.requests: list[dict[str, Any]] = []
    self.headers: list[dict[str, str]] = []
    self.most = 0
    self.url = ''
    self._script, self._models, self._port = script, models, port
    self._busy = 0
    self._work: set[asyncio.Task] = set()

  async def __aenter__(self) -> 'ChatServer':
    self._server = await asyncio.start_server(self._connected, '127.0.0.1', self._port, backlog=512)
    self._port = self._server.sockets[0].getsockname()[1]
    self.url = f'http://127.0.0.1:{self._port}/v1'
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
    """Serves one request; whether the connection lives on."""
    head = (await reader.readuntil(b'\r\n\r\n')).decode()
    line, *rows = head.split('\r\n')
    headers = {name.lower(): value for name, _, value in (row.partition(': ') for row in rows if row)}
    data = await reader.readexactly(int(headers.get('content-length', 0)))
    if line.split()[1].endswith('/models'):
      return await self._send(writer, 200, {'data': [{'id': name} for name in self._models]})
    body = json.loads(data)
    self.requests.append(body)
    self.headers.append(headers)
    self._busy += 1
    self.most = max(self.most, self._busy)
    try:
      return await self._act(writer, body, self._script(body, len(self.requests)))
    finally:
      self._busy -= 1

  async def _act(self, writer, body, act: Act) -> bool:
    await asyncio.sleep(act.seconds)
    if act.kind == 'hang':
      await asyncio.sleep(3600)
    if act.kind == 'die':
      return False
    if act.kind == 'status':
      return await self._send(writer, act.status, {'error': {'message': act.text}}, act.headers)
    if act.kind == 'raw':
      return await self._send(writer, act.status, act.text, act.headers)
    payload = _completion(body, act)
    if act.kind == 'cut':
      whole = json.dumps(payload).encode()
      writer.write(_head(200, len(whole), act.headers) + whole[: len(whole) // 2])
      await writer.drain()
      return False
    if act.kind == 'drip':
      writer.write(_head(200, 1000, act.headers))
      for _ in range(1000):
        writer.write(b' ')
        await writer.drain()
        await asyncio.sleep(0.02)
    return await self._send(writer, 200, payload, act.headers)

  async def _send(self, writer, status, payload, headers=()) -> bool:
    data = payload.encode() if isinstance(payload, str) else json.dumps(payload).encode()
    writer.write(_head(status, len(data), headers) + data)
    await writer.drain()
    return True


def _head(status: int, length: int, headers) -> bytes:
  rows = [('content-type', 'application/json'), ('content-length', str(length)), *headers]
  return (f'HTTP/1.1 {status} X\r\n' + ''.join(f'{k}: {v}\r\n' for k, v in rows) + '\r\n').encode()


def _completion(body: dict[str, Any], act: Act) -> dict[str, Any]:
  choice: dict[str, Any] = {
    'index': 0,
    'message': {'role': 'assistant', 'content': act.text},
    'finish_reason': act.finish,
  }
  if body.get('logprobs'):
    top = [{'token': 'a', 'logprob': -0.5}, {'token': 'b', 'logprob': -1.5}]
    choice['logprobs'] = {'content': [{'token': 'a', 'logprob': -0.5, 'top_logprobs': top}]}
  usage = {'prompt_tokens': 11, 'completion_tokens': 7}
  return {'object': 'chat.completion', 'model': body['model'], 'choices': [choice], 'usage': usage}


def texts(body: dict[str, Any]) -> str:
  """All texts of a request, pictures as `[image]`."""
  found = []
  for message in body['messages']:
    content = message['content']
    parts = [{'type': 'text', 'text': content}] if isinstance(content, str) else content
    found += [part['text'] if part['type'] == 'text' else '[image]' for part in parts]
  return '\n'.join(found)
