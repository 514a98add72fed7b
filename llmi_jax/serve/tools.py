"""Offers the configured tools over HTTP, so that several runs share one machine's tools.

    python -m llmi_jax.serve.tools --config=configs/grpo_tiny.py [--host=127.0.0.1] [--port=8300]

A run uses them with `config.tools.NAME.provider = 'served'` and their address in `urls`. The environment
variable LLMI_JAX_TOOLS_KEY, where set on both sides, is the key that calls must show; without one only this
machine is served.
"""

import asyncio
import json

from llmi_jax import front, toolbox
from llmi_jax.core.errors import DataError
from llmi_jax.rollout.device import Device
from llmi_jax.services import ports
from llmi_jax.tools import served
from llmi_jax.tools.dispatch import Dispatcher

try:
  import uvicorn
  from starlette.applications import Starlette
  from starlette.requests import Request
  from starlette.responses import JSONResponse
  from starlette.routing import Route

  from llmi_jax.serve import door
except ImportError as error:
  raise SystemExit(f'Error: {error}; pip install "llmi_jax[serve]".') from error

KEY, DEFAULT_PORT = 'LLMI_JAX_TOOLS_KEY', 8300
MOST_BYTES = 128 << 20  # of a request


def main(config: toolbox.Config) -> None:
  """Serves until it is stopped."""
  host = door.HOST.value
  asyncio.run(serve(config, host, door.PORT.value or DEFAULT_PORT, door.key(KEY, host)))


async def serve(config: toolbox.Config, host: str, port: int, key: str) -> None:
  """The same, with everything given."""
  listening, device = ports.listen(port, host), Device()
  try:
    async with toolbox.registry(config.tools, device) as registry:
      dispatcher = toolbox.dispatcher(registry, config.tools)
      settings = uvicorn.Config(
        application(dispatcher, key), host, port, log_level='warning', lifespan='off', ws='none'
      )
      print(f'Serving {", ".join(tool.spec.name for tool in registry)} on http://{host}:{port}', flush=True)
      await uvicorn.Server(settings).serve([listening])
  finally:
    listening.close()
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
    door.admit(request, key)
    return JSONResponse({'tools': [served.offer(tool) for tool in dispatcher.registry]})

  async def call(request: Request) -> JSONResponse:
    door.admit(request, key)
    tool = dispatcher.registry.get(request.path_params['name'])
    if tool is None:
      return _refusal(404, f'There is no tool {request.path_params["name"][:80]!r} here.')
    body = await door.body(request, MOST_BYTES)
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

  async def refuse(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, door.Refused)
    return _refusal(error.status, str(error))

  return Starlette(
    exception_handlers={door.Refused: refuse},
    routes=[
      Route('/health', health),
      Route('/tools', tools),
      Route('/tools/{name}', call, methods=['POST']),
    ],
  )


def _read(body: bytes, spec):
  try:
    data = json.loads(body)
  except (ValueError, RecursionError) as error:
    raise DataError('The request is not JSON; see llmi_jax/tools/served.py.') from error
  return served.read_request(data, spec)


async def _left(request: Request) -> None:
  """Waits until whoever asked hangs up."""
  while (await request.receive())['type'] != 'http.disconnect':
    pass


def _refusal(status: int, words: str) -> JSONResponse:
  return JSONResponse({'error': {'message': words}}, status)


if __name__ == '__main__':
  front.run(main)
