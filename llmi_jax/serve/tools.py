"""Offers the configured tools over HTTP, so that several runs share one machine's tools.

    python -m llmi_jax.serve.tools --config=configs/grpo_tiny.py [--host=127.0.0.1] [--port=8300]

A run uses them with `config.tools.NAME.provider = 'served'` and their address in `urls`. The environment
variable LLMI_JAX_TOOLS_KEY, where set on both sides, is the key that calls must show; without one only this
machine is served.
"""

import asyncio
import hmac
import ipaddress
import json
import os

from absl import flags

from llmi_jax import front, toolbox
from llmi_jax.core.errors import ConfigError, DataError
from llmi_jax.rollout.device import Device
from llmi_jax.tools import served
from llmi_jax.tools.dispatch import Dispatcher

try:
  import uvicorn
  from starlette.applications import Starlette
  from starlette.requests import Request
  from starlette.responses import JSONResponse
  from starlette.routing import Route
except ImportError as error:
  raise SystemExit(f'Error: {error}; pip install "llmi_jax[serve]".') from error

HOST = flags.DEFINE_string('host', '127.0.0.1', 'Address to listen on.')
PORT = flags.DEFINE_integer('port', 8300, 'Port to listen on.')
KEY = 'LLMI_JAX_TOOLS_KEY'
MOST_BYTES = 128 << 20  # of a request


def main(config: toolbox.Config) -> None:
  """Serves until it is stopped."""
  asyncio.run(serve(config, HOST.value, PORT.value, os.environ.get(KEY, '')))


async def serve(config: toolbox.Config, host: str, port: int, key: str) -> None:
  """The same, with everything given.

  Raises:
    ConfigError: others than this machine would be served without a key.
  """
  if not key and not _is_loopback(host):
    raise ConfigError(f'--host={host} lets others in; set {KEY} first, or serve 127.0.0.1 alone.')
  device = Device()
  try:
    async with toolbox.registry(config.tools, device) as registry:
      dispatcher = toolbox.dispatcher(registry, config.tools)
      settings = uvicorn.Config(
        application(dispatcher, key), host, port, log_level='warning', lifespan='off', ws='none'
      )
      print(f'Serving {", ".join(tool.spec.name for tool in registry)} on http://{host}:{port}', flush=True)
      await uvicorn.Server(settings).serve()
  finally:
    device.close()


def application(dispatcher: Dispatcher, key: str = '') -> Starlette:
  """The tools of a dispatcher, within its limits, as an ASGI application.

  Args:
    dispatcher: runs them.
    key: that requests must show; none where empty.
  """

  async def health(request: Request) -> JSONResponse:
    return JSONResponse({'status': 'ok'})

  async def tools(request: Request) -> JSONResponse:
    if not _admitted(request, key):
      return _refusal(401, 'The key is missing or wrong.')
    return JSONResponse({'tools': [served.offer(tool) for tool in dispatcher.registry]})

  async def call(request: Request) -> JSONResponse:
    if not _admitted(request, key):
      return _refusal(401, 'The key is missing or wrong.')
    tool = dispatcher.registry.get(request.path_params['name'])
    if tool is None:
      return _refusal(404, f'There is no tool {request.path_params["name"][:80]!r} here.')
    body = await _body(request)
    if body is None:
      return _refusal(413, f'The request has more than {MOST_BYTES:,} bytes.')
    try:
      params, context = await asyncio.to_thread(_read, body, tool.spec)
    except DataError as error:
      return _refusal(422, str(error))
    work = asyncio.ensure_future(dispatcher.call(tool, params, context, tool.spec.name))
    leaving = asyncio.ensure_future(_left(request))
    try:
      await asyncio.wait((work, leaving), return_when=asyncio.FIRST_COMPLETED)
      if not work.done():  # whoever asked is gone
        return _refusal(499, 'The request was given up.')
      return JSONResponse(await asyncio.to_thread(served.reply, work.result()))
    finally:
      for one in (work, leaving):
        one.cancel()
      await asyncio.gather(work, leaving, return_exceptions=True)

  return Starlette(
    routes=[
      Route('/health', health),
      Route('/tools', tools),
      Route('/tools/{name}', call, methods=['POST']),
    ]
  )


def _read(body: bytes, spec):
  try:
    data = json.loads(body)
  except (ValueError, RecursionError) as error:
    raise DataError('The request is not JSON; see llmi_jax/tools/served.py.') from error
  return served.read_request(data, spec)


async def _body(request: Request) -> bytes | None:
  """The request's body, or None where it is too large."""
  parts, length = [], 0
  async for part in request.stream():
    length += len(part)
    if length > MOST_BYTES:
      return None
    parts.append(part)
  return b''.join(parts)


async def _left(request: Request) -> None:
  """Waits until whoever asked hangs up."""
  while (await request.receive())['type'] != 'http.disconnect':
    pass


def _admitted(request: Request, key: str) -> bool:
  shown = request.headers.get('authorization', '')
  return not key or hmac.compare_digest(shown.encode(), f'Bearer {key}'.encode())


def _refusal(status: int, words: str) -> JSONResponse:
  return JSONResponse({'error': {'message': words}}, status)


def _is_loopback(host: str) -> bool:
  try:
    return host == 'localhost' or ipaddress.ip_address(host).is_loopback
  except ValueError:
    return False


if __name__ == '__main__':
  front.run(main)
