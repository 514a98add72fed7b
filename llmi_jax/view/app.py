"""The viewer as an ASGI application: pages, pictures, raw records; for this machine alone."""

import asyncio
import functools
import json
import re
from collections.abc import Callable
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from llmi_jax.core.errors import DataError
from llmi_jax.data import rollouts
from llmi_jax.data.rollout import PictureRef
from llmi_jax.services import images
from llmi_jax.view import compare, pages, query
from llmi_jax.view.index import Index

SIDE = 768  # pixels of a thumbnail
_KEPT = 512  # thumbnails in memory
_SAFE = {
  'X-Content-Type-Options': 'nosniff',
  'Referrer-Policy': 'no-referrer',
  'Cross-Origin-Resource-Policy': 'same-origin',
  'Cross-Origin-Opener-Policy': 'same-origin',
}
# Pictures never change under their names. Opened alone, one may load and run nothing.
_PICTURE = _SAFE | {
  'Cache-Control': 'private, max-age=31536000, immutable',
  'Content-Security-Policy': "default-src 'none'; sandbox",
}


def application(index: Index) -> Starlette:
  """Serves what an index knows; requests under another name than this machine's are refused."""

  async def page(request: Request, make: Callable[[], tuple[str, str]]) -> Response:
    try:
      await asyncio.to_thread(index.refresh)
      html, policy = await asyncio.to_thread(make)
    except DataError as error:
      html, policy = pages.refused(str(error))
      return HTMLResponse(html, 500, headers=_headers(policy))
    return HTMLResponse(html, headers=_headers(policy))

  async def browse(request: Request) -> Response:
    pairs = request.query_params.multi_items()
    return await page(request, lambda: pages.browse(query.read(pairs, index), index))

  async def beside(request: Request) -> Response:
    fields = request.query_params

    def make() -> tuple[str, str]:
      named = [side for text in fields.getlist('side') if (side := compare.parse(text, index))]
      chosen = tuple(dict.fromkeys(named)) if len(set(named)) > 1 else compare.usual(index)
      if len(chosen) < 2:
        return pages.refused('There is nothing to compare yet: it takes two runs, or one run at two steps.')
      figure = fields.get('by', '')
      number = fields.get('page', '')
      return pages.side_by_side(
        chosen,
        figure if figure in index.numbers else 'reward',
        int(number) if number.isascii() and number.isdigit() else 0,
        fields.get('open', ''),
        index,
      )

    return await page(request, make)

  async def state(request: Request) -> Response:
    await asyncio.to_thread(index.refresh)
    told = {'version': index.version, 'rows': index.table.num_rows}
    return JSONResponse(told, headers=_SAFE | {'Cache-Control': 'no-store'})

  async def raw(request: Request) -> Response:
    asked = query.read(request.query_params.multi_items(), index)
    row = index.find(asked.open, asked.of)
    rollout = None if row is None else await asyncio.to_thread(index.read, row)
    if rollout is None:
      return _missing()
    told = json.dumps(rollouts.plain(rollout))
    return Response(told, media_type='application/json', headers=_SAFE)

  async def picture(request: Request) -> Response:
    found = await asyncio.to_thread(_picture, index, request.path_params)
    return Response(found, media_type='image/png', headers=_PICTURE) if found else _missing()

  async def thumbnail(request: Request) -> Response:
    found = await asyncio.to_thread(small, request.path_params['run'], request.path_params['sha256'])
    return Response(found, media_type='image/webp', headers=_PICTURE) if found else _missing()

  @functools.lru_cache(_KEPT)
  def small(run: str, sha256: str) -> bytes:
    png = _picture(index, {'run': run, 'sha256': sha256})
    if not png:
      return b''
    return images.thumbnail(images.decode(png), SIDE, 'WEBP')

  async def rollout(request: Request) -> Response:
    asked = query.Query(open=request.path_params['address'])
    return RedirectResponse(asked.address())

  return Starlette(
    routes=[
      Route('/', browse),
      Route('/compare', beside),
      Route('/state', state),
      Route('/raw', raw),
      Route('/picture/{run}/{sha256}', picture),
      Route('/thumbnail/{run}/{sha256}', thumbnail),
      Route('/rollout/{address:path}', rollout),
    ],
    middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=['127.0.0.1', 'localhost', '[::1]'])],
  )


def _picture(index: Index, names: dict[str, Any]) -> bytes:
  """A picture's bytes; none where there is no such run or picture."""
  run = index.run(names['run'])
  if run is None or not re.fullmatch(r'[0-9a-f]{64}', names['sha256']):
    return b''
  file = run.folder / PictureRef(names['sha256'], 1, 1).path
  return file.read_bytes() if file.is_file() else b''


def _headers(policy: str) -> dict[str, str]:
  return _SAFE | {'Content-Security-Policy': policy, 'Cache-Control': 'no-store'}


def _missing() -> Response:
  return JSONResponse({'error': {'message': 'There is no such thing here.'}}, 404, headers=_SAFE)
