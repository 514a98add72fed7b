"""The tool server over a real socket, with the client that runs use and with clients that mean no good."""

import asyncio
import base64
import contextlib
import json
import socket
import time

import numpy as np
import pytest
import uvicorn

from llmi_jax.core.errors import ConfigError
from llmi_jax.core.outcome import Attribution, Candidate
from llmi_jax.core.toolspec import Parameter, ToolSpec
from llmi_jax.serve import door
from llmi_jax.serve import tools as server
from llmi_jax.services import images
from llmi_jax.services.http import Http
from llmi_jax.services.limits import Limit
from llmi_jax.services.retry import Retry
from llmi_jax.tools import edit, served
from llmi_jax.tools.dispatch import Dispatcher
from llmi_jax.tools.registry import Context, Registry, Tool, ToolFailure, success
from llmi_jax.tools.servers import Servers

GIVEN = images.from_array(np.arange(27 * 30 * 3, dtype=np.uint8).reshape(27, 30, 3))
SHADE = ToolSpec('shade', 'Draws a shade.', (Parameter('how', 'string', 'dark or light'),))


class Shades:
  """A real tool whose cancelled calls are counted."""

  cancelled = 0

  async def call(self, params, context):
    match params['how']:
      case 'never':
        raise ToolFailure('There is no such shade.', 'policy')
      case 'slow':
        try:
          await asyncio.sleep(60)
        except asyncio.CancelledError:
          self.cancelled += 1
          raise
    pixels = np.full((4, 4, 3), context.seed % 256, np.uint8)
    credit = Attribution('a shade', 'me', 'CC0', 'http://page')
    pictures = (images.from_array(pixels + i, source='shade') for i in range(context.candidates))
    return success(
      *(Candidate(image, credit, 'shade', 1.5) for image in pictures), artefacts=(('text', 'é'),)
    )


@contextlib.asynccontextmanager
async def serving(key='', shades=None):
  tools = [Tool(SHADE, (shades or Shades()).call, model='m', seeded=True), edit.edit_tool()]
  dispatcher = Dispatcher(Registry(tools), default=Limit(4, 5.0))
  with socket.create_server(('127.0.0.1', 0)) as listening:
    port = listening.getsockname()[1]
    config = uvicorn.Config(server.application(dispatcher, key), log_level='error', lifespan='off', ws='none')
    running = uvicorn.Server(config)
    work = asyncio.ensure_future(running.serve([listening]))
    while not running.started:
      await asyncio.sleep(0.01)
    try:
      yield f'http://127.0.0.1:{port}'
    finally:
      running.should_exit = True
      await work


def client(http, url, key=''):
  return Servers(http, (url,), 'served', headers={'authorization': f'Bearer {key}'} if key else {})


def test_a_served_tool_is_the_tool():
  async def main():
    async with serving('secret') as url, Http() as http:
      servers = client(http, url, 'secret')
      await servers.check_health(served.HEALTH)
      shade, change = await served.served_tool(servers, 'shade'), await served.served_tool(servers, 'edit')
      until = time.monotonic() + 5
      drawn = await shade.call({'how': 'dark'}, Context(7, 1, 2, until))
      missing = await shade.call({'how': 'never'}, Context(deadline=until))
      asked = {'img_index': 3, 'prompt': 'mirror it'}
      edited = await change.call(asked, Context(deadline=until, images={3: GIVEN}))
      local = await edit.edit_tool().call(asked, Context(images={3: GIVEN}))
      return shade, drawn, missing, edited, local

  shade, drawn, missing, edited, local = asyncio.run(main())
  assert (shade.spec, shade.seeded, shade.model, shade.provider) == (SHADE, True, 'm', 'served:builtin')
  assert [int(images.to_array(c.image)[0, 0, 0]) for c in drawn.candidates] == [7, 8]
  assert drawn.candidates[0].attribution.author == 'me' and drawn.artefacts == (('text', 'é'),)
  assert (missing.status, missing.fault, missing.error) == ('failed', 'policy', 'There is no such shade.')
  assert edited.image.sha256 == local.image.sha256


def test_who_hangs_up_stops_the_work():
  shades = Shades()

  async def main():
    async with serving(shades=shades) as url, Http() as http:
      tool = await served.served_tool(client(http, url), 'shade')
      call = asyncio.ensure_future(tool.call({'how': 'slow'}, Context(deadline=time.monotonic() + 30)))
      await asyncio.sleep(0.3)
      call.cancel()
      await asyncio.wait([call])
      for _ in range(100):
        if shades.cancelled:
          break
        await asyncio.sleep(0.02)

  asyncio.run(main())
  assert shades.cancelled == 1


def test_the_callers_deadline_holds_on_the_server():
  shades = Shades()

  async def main():
    async with serving(shades=shades) as url, Http() as http:
      body = {'params': {'how': 'slow'}, 'seconds': 0.2, 'images': {}}
      reply = await http.send(
        'POST', f'{url}/tools/shade', until=time.monotonic() + 5, json=json.dumps(body).encode()
      )
      return reply.json()

  found = asyncio.run(main())
  assert found['outcome']['status'] == 'unavailable' and shades.cancelled == 1


def test_without_the_key_nobody_is_served():
  async def main():
    async with serving('secret') as url, Http() as http:
      statuses = []
      for headers in ({}, {'authorization': 'Bearer wrong'}, {'authorization': 'secret'}):
        for method, path in (('GET', '/tools'), ('POST', '/tools/shade')):
          reply = await http.send(
            method,
            url + path,
            until=time.monotonic() + 5,
            json=b'{}' if method == 'POST' else None,
            headers=headers,
          )
          statuses.append(reply.status)
      with pytest.raises(ConfigError, match='401'):
        await served.served_tool(client(http, url), 'shade')
      return statuses

  assert asyncio.run(main()) == [401] * 6


GOOD = {'params': {'how': 'dark'}, 'images': {}}


@pytest.mark.parametrize(
  ('path', 'body', 'status'),
  [
    ('/tools/nothing', GOOD, 404),
    ('/tools/shade', b'{', 422),
    ('/tools/shade', b'[' * 100_000, 422),
    ('/tools/shade', [], 422),
    ('/tools/shade', {}, 422),
    ('/tools/shade', GOOD | {'params': {'how': ''}}, 422),
    ('/tools/shade', GOOD | {'params': {'how': 7}}, 422),
    ('/tools/shade', GOOD | {'params': {'how': 'dark', 'more': 1}}, 422),
    ('/tools/shade', GOOD | {'candidates': 10**9}, 422),
    ('/tools/shade', GOOD | {'seed': -1}, 422),
    ('/tools/shade', GOOD | {'seconds': float('nan')}, 422),
    ('/tools/shade', GOOD | {'images': {'0': '!!'}}, 422),
    ('/tools/shade', GOOD | {'images': {'0': base64.b64encode(b'no picture').decode()}}, 422),
    ('/tools/edit', {'params': {'img_index': 1, 'prompt': 'flip it'}, 'images': {}}, 422),
    ('/tools/edit', {'params': {'img_index': True, 'prompt': 'flip it'}, 'images': {}}, 422),
    ('/nowhere', GOOD, 404),
  ],
)
def test_requests_that_are_none_are_refused_in_words(path, body, status):
  async def main():
    async with serving() as url, Http() as http:
      data = body if isinstance(body, bytes) else json.dumps(body).encode()
      return await http.send('POST', url + path, until=time.monotonic() + 5, json=data)

  reply = asyncio.run(main())
  assert reply.status == status and (path == '/nowhere' or reply.json()['error']['message'])


def test_a_server_that_lies_about_pictures_is_not_believed():
  from tests.doubles.web import Act, WebServer

  async def main():
    def script(ask):
      if ask.path == '/tools':
        return Act({'tools': [served.offer(Tool(SHADE, Shades().call))]})
      outcome = served.reply(success(Candidate(GIVEN)))
      outcome['pictures'][GIVEN.sha256] = base64.b64encode(b'something else').decode()
      return Act(outcome)

    async with WebServer(script) as double, Http() as http:
      tool = await served.served_tool(client(http, double.url), 'shade')
      dispatcher = Dispatcher(Registry([tool]), retry=Retry(1))
      return await dispatcher.call(tool, {'how': 'dark'}, Context(), 'x')

  outcome = asyncio.run(main())
  assert (outcome.status, outcome.fault) == ('unavailable', 'environment') and 'garbage' in outcome.error


def test_nobody_else_is_let_in_without_a_key():
  with pytest.raises(ConfigError, match='lets others in'):
    door.key(server.KEY, '0.0.0.0')
