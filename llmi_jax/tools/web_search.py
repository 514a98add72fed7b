"""The search tool on a public image search: asked once, its pictures fetched together, the best kept."""

import asyncio
import dataclasses
import time
from collections.abc import AsyncIterator, Sequence

from llmi_jax.core.errors import ConfigError, DataError
from llmi_jax.core.image import Image
from llmi_jax.core.outcome import Candidate, ToolOutcome
from llmi_jax.core.toolspec import ToolSpec
from llmi_jax.services import images
from llmi_jax.services.download import Downloader
from llmi_jax.services.faults import ServiceFault
from llmi_jax.tools.registry import Context, Params, Tool, ToolFailure, success
from llmi_jax.tools.search import SPEC
from llmi_jax.tools.search_providers import MOST_QUERY, Hit, Provider
from llmi_jax.tools.servers import Servers


@dataclasses.dataclass(frozen=True)
class WebSearch:
  """What is wanted of results.

  Attributes:
    results: that are asked for and, at most, fetched.
    smallest: a picture has at least this number squared of pixels.
    largest: and at most this number squared.
    side: larger pictures are scaled down to this side.
    fetch_seconds: for one picture.
  """

  results: int = 15
  smallest: int = 400
  largest: int = 5120
  side: int = 1536
  fetch_seconds: float = 5.0

  def fits(self, pixels: int) -> bool:
    """Whether a picture of so many pixels is wanted."""
    return self.smallest**2 <= pixels <= self.largest**2


def web_search_tool(
  servers: Servers,
  downloader: Downloader,
  provider: Provider,
  settings: WebSearch = WebSearch(),
  *,
  key: str = '',
  engine: str = '',
  spec: ToolSpec = SPEC,
) -> Tool:
  """The search tool.

  Args:
    servers: the provider's address.
    downloader: fetches what the results point to.
    provider: its protocol.
    settings: what is wanted.
    key: of an account there.
    engine: id of a Programmable Search engine.
    spec: what prompts say of it.

  Raises:
    ConfigError: a key is needed and missing.
  """
  if provider.keyed and not key:
    raise ConfigError(
      f'The search provider {provider.name} needs a key; set the environment variable that key_env names.'
    )

  async def call(params: Params, context: Context) -> ToolOutcome:
    query = ' '.join(str(params['query']).split())[:MOST_QUERY]
    hits = await servers.ask(
      'GET',
      provider.path(query, settings.results, key, engine),
      provider.read,
      until=context.deadline,
      headers=provider.headers(key),
    )
    able = [hit for hit in hits if hit.pixels is None or settings.fits(hit.pixels)][: settings.results]
    if not able:
      raise ToolFailure(f'No picture of a fitting size matches {query[:100]!r}.', 'policy')
    found = [candidate async for candidate in _fetched(able, context, settings, downloader)]
    if not found:
      words = f'None of the {len(able)} pictures found for {query[:100]!r} could be fetched.'
      raise ServiceFault('connection', words, transient=False)
    return success(*found)

  return Tool(spec, call, provider=provider.name, model=repr(settings), gauges=servers.gauges)


async def _fetched(
  hits: Sequence[Hit], context: Context, settings: WebSearch, downloader: Downloader
) -> AsyncIterator[Candidate]:
  """The first good pictures in rank order, as many as are wanted; all are fetched at the same time."""
  until = min(context.deadline, time.monotonic() + settings.fetch_seconds)
  work = [
    asyncio.ensure_future(_fetch(hit, rank, until, settings, downloader)) for rank, hit in enumerate(hits)
  ]
  left = context.candidates
  try:
    for one in work:
      candidate = await one
      if candidate is not None:
        yield candidate
        left -= 1
      if not left:
        return
  finally:
    for one in work:
      one.cancel()
    await asyncio.gather(*work, return_exceptions=True)


async def _fetch(
  hit: Hit, rank: int, until: float, settings: WebSearch, downloader: Downloader
) -> Candidate | None:
  """One picture, or None where it cannot be had or does not fit."""
  try:
    reply = await downloader.fetch(hit.url, until=until)
    image = await asyncio.to_thread(_decode, reply.body, settings)
  except (ServiceFault, DataError):
    return None  # the next in rank stands in for it
  return Candidate(image, hit.attribution, hit.caption, float(-rank))


def _decode(data: bytes, settings: WebSearch) -> Image:
  """A picture of a fitting size, whatever was announced.

  Raises:
    DataError: it is none.
  """
  image = images.decode(data, source='search', max_pixels=settings.largest**2, max_side=settings.side)
  if image.width * image.height < settings.smallest**2:
    raise DataError(f'The picture has {image.width}×{image.height} pixels; that is too small.')
  return image
