"""Builds the configured tools and their limits: which provider serves each, with what settings and keys.

`config.tools.names` says which tools are offered, in the prompt's order: `search`, `code`, `edit`,
`diffusion`, or the path of a file with a tool of one's own. `config.tools.NAME` holds the settings of each;
`configs/tools.py` lists them all.
"""

import contextlib
import dataclasses
import logging
import os
from collections.abc import AsyncIterator
from typing import Any

from ml_collections import ConfigDict

from llmi_jax.core.errors import ConfigError
from llmi_jax.data import photographs
from llmi_jax.painting import Painting
from llmi_jax.rollout.device import Device
from llmi_jax.services.addresses import Rules
from llmi_jax.services.cache import Cache
from llmi_jax.services.download import Downloader
from llmi_jax.services.http import Http
from llmi_jax.services.journal import Journal
from llmi_jax.services.limits import Limit
from llmi_jax.services.retry import Retry
from llmi_jax.tools import (
  code,
  diffusion,
  edit,
  image_api,
  own,
  qwen_image,
  remote_code,
  search,
  search_providers,
  served,
  web_search,
)
from llmi_jax.tools.dispatch import Dispatcher
from llmi_jax.tools.image_api import ImageApi
from llmi_jax.tools.pipeline import DiffusersTool, Pipeline
from llmi_jax.tools.qwen_image import QwenImage
from llmi_jax.tools.registry import Registry, Tool
from llmi_jax.tools.sandbox.host import Figures, Sandbox
from llmi_jax.tools.servers import Servers
from llmi_jax.tools.web_search import WebSearch

# A ConfigDict; its values' types are only known to its file, so checkers must not guess.
Config = Any
_LOCAL = {'search': 'builtin', 'code': 'sandbox', 'edit': 'builtin', 'diffusion': 'painter'}


@contextlib.asynccontextmanager
async def registry(config: Config, device: Device) -> AsyncIterator[Registry]:
  """The configured tools; closing stops their helpers.

  Args:
    config: `config.tools` of a run.
    device: where models of this process run.

  Raises:
    ConfigError: a name, provider or setting that cannot work.
    SandboxError: the code tool is wanted and no sandbox holds here.
    WeightsError: the painter is missing or broken.
  """
  async with contextlib.AsyncExitStack() as stack:
    maker = _Maker(config, device, stack)
    yield Registry([await maker.make(name) for name in config.names])


def dispatcher(
  tools: Registry,
  config: Config,
  journal: Journal | None = None,
  cache: Cache | None = None,
  seed: int = 0,
  processes: int = 1,
) -> Dispatcher:
  """Runs calls within the configured limits.

  Args:
    tools: the registry.
    config: `config.tools` of a run.
    journal: of the run.
    cache: of successful replies.
    seed: of the waits between tries.
    processes: that share the limits of whatever is not this process's own.
  """
  limits = {name: _limit(name, config) for name in config.names if name in _LOCAL}
  for name, limit in limits.items():
    if _provider(name, config.get(name, {})) != _LOCAL[name]:
      limits[name] = limit.share(processes)
  return Dispatcher(
    tools,
    max_calls=config.max_calls,
    limits=limits,
    default=Limit().share(processes),
    retry=_record(Retry, 'retry', config.get('retry', {})),
    seed=seed,
    cache=cache,
    replay=config.get('replay', False),
    journal=journal,
  )


def _limit(name: str, config: Config) -> Limit:
  """A tool's own limit, else what its kind needs."""
  settings = config.get(name, {})
  if 'limit' in settings:
    return _record(Limit, f'{name}.limit', settings['limit'])
  if name == 'code':
    return Limit(settings['workers'], 3 * settings['seconds'])
  # Painting waits for the device, which decodes in between.
  return Limit(64, 600.0) if _provider(name, settings) == 'painter' else Limit()


def _provider(name: str, settings: Config) -> str:
  return settings.get('provider', _LOCAL[name])


class _Maker:
  """Makes tools; what they hold open is closed with the stack."""

  def __init__(self, config: Config, device: Device, stack: contextlib.AsyncExitStack):
    self._config, self._device, self._stack = config, device, stack

  async def make(self, name: str) -> Tool:
    """The tool of one entry of `config.tools.names`."""
    if name.endswith('.py'):
      return own.load(name)
    if name not in _LOCAL:
      known = ', '.join(_LOCAL)
      raise ConfigError(f'config.tools.names holds {name!r}; known are {known} and paths of .py files.')
    settings = self._config.get(name, {})
    provider = _provider(name, settings)
    if provider == 'served':
      return await served.served_tool(await self._servers(name, settings), name)
    return await getattr(self, f'_{name}')(settings, provider)

  async def _search(self, settings: Config, provider: str) -> Tool:
    if provider == 'builtin':
      return search.search_tool(photographs.load())
    chosen = search_providers.provider(provider)
    wanted = _record(WebSearch, 'search.wanted', settings.get('wanted', {}))
    servers = await self._servers('search', settings, urls=(chosen.url,), show_key=False)
    return web_search.web_search_tool(
      servers,
      await self._downloader(settings),
      chosen,
      wanted,
      key=_key(settings),
      engine=settings.get('engine', ''),
    )

  async def _code(self, settings: Config, provider: str) -> Tool:
    if provider == 'sandbox':
      figures = Figures(settings.width, settings.height, settings.dpi, settings.font_size, settings.tight)
      sandbox = await Sandbox.open(figures, settings.workers)
      self._stack.push_async_callback(sandbox.close)
      logging.getLogger(__name__).info('Model-written code runs in the sandbox tier %s.', sandbox.tier)
      return code.code_tool(sandbox, deadline=settings.seconds)
    _among('code', provider, 'sandbox', 'sandboxfusion')
    return remote_code.remote_code_tool(
      await self._servers('code', settings),
      figsize=(settings.width, settings.height),
      dpi=settings.dpi,
      font_size=settings.font_size,
      seconds=settings.seconds,
    )

  async def _edit(self, settings: Config, provider: str) -> Tool:
    if provider == 'builtin':
      return edit.edit_tool()
    if provider == 'diffusers':
      return await self._pipeline('edit', settings)
    _among('edit', provider, 'builtin', 'diffusers', 'image_api', 'qwen_image')
    servers = await self._servers('edit', settings)
    if provider == 'qwen_image':
      await servers.check_health(qwen_image.HEALTH)
      wanted = {'steps': 50} | _plain(settings.get('wanted', {}))
      return qwen_image.qwen_image_edit_tool(servers, _record(QwenImage, 'edit.wanted', wanted))
    wanted = _record(ImageApi, 'edit.wanted', settings.get('wanted', {}))
    return image_api.image_edit_tool(servers, await self._downloader(settings), wanted)

  async def _diffusion(self, settings: Config, provider: str) -> Tool:
    if provider == 'painter':
      painting = Painting(self._device, batch=settings.get('batch', 1))
      return diffusion.painter_tool(painting.paint, painting.knows, painting.identity)
    if provider == 'diffusers':
      return await self._pipeline('diffusion', settings)
    _among('diffusion', provider, 'painter', 'diffusers', 'image_api', 'qwen_image')
    servers = await self._servers('diffusion', settings)
    if provider == 'qwen_image':
      await servers.check_health(qwen_image.HEALTH)
      wanted = _record(QwenImage, 'diffusion.wanted', settings.get('wanted', {}))
      return qwen_image.qwen_image_tool(servers, wanted)
    wanted = _record(ImageApi, 'diffusion.wanted', settings.get('wanted', {}))
    return image_api.image_tool(servers, await self._downloader(settings), wanted)

  async def _pipeline(self, name: str, settings: Config) -> Tool:
    purpose = {'diffusion': 'paint', 'edit': 'edit'}[name]
    wanted = {'purpose': purpose} | _plain(settings.get('wanted', {}))
    opened = await DiffusersTool.open(_record(Pipeline, f'{name}.wanted', wanted))
    self._stack.push_async_callback(opened.close)
    return opened.tool

  async def _servers(
    self, tool: str, settings: Config, *, urls: tuple[str, ...] = (), show_key: bool = True
  ) -> Servers:
    """The configured addresses, else `urls`; `show_key` says whether calls carry the key as OpenAI's do."""
    key = _key(settings) if show_key else ''
    http = await self._stack.enter_async_context(Http(_limit(tool, self._config).concurrency + 1))
    return Servers(
      http,
      tuple(settings.get('urls', urls)),
      _provider(tool, settings),
      headers={'authorization': f'Bearer {key}'} if key else {},
      attempt_seconds=settings.get('attempt_seconds', float('inf')),
    )

  async def _downloader(self, settings: Config) -> Downloader:
    """For pictures that replies only point to."""
    rules = Rules(private=True, ports=()) if settings.get('private', False) else Rules()
    return await self._stack.enter_async_context(Downloader(rules, connections=64))


def _plain(values: Config) -> dict[str, Any]:
  """A part of the config as plain values."""
  return values.to_dict() if isinstance(values, ConfigDict) else dict(values)


def _key(settings: Config) -> str:
  """The key in the environment variable that the config names.

  Raises:
    ConfigError: it is not set.
  """
  name = settings.get('key_env', '')
  if name and not os.environ.get(name):
    raise ConfigError(f'The environment variable {name} is not set; set it to your key.')
  return os.environ.get(name, '') if name else ''


def _among(tool: str, provider: str, *known: str) -> None:
  if provider not in known:
    raise ConfigError(
      f'config.tools.{tool}.provider is {provider!r}; known are {", ".join(known)} and served.'
    )


def _record(kind: type, name: str, values: Config) -> Any:
  """A record from a part of the config.

  Raises:
    ConfigError: a key is unknown or missing.
  """
  fields = {field.name: field for field in dataclasses.fields(kind)}
  given = _plain(values)
  unknown = [key for key in given if key not in fields]
  if unknown:
    raise ConfigError(f'config.tools.{name} has no key {unknown[0]!r}; known are {", ".join(fields)}.')
  missing = [
    key
    for key, field in fields.items()
    if key not in given
    and field.default is dataclasses.MISSING
    and field.default_factory is dataclasses.MISSING
  ]
  if missing:
    raise ConfigError(f'config.tools.{name} lacks {missing[0]!r}; set it.')
  return kind(**given)
