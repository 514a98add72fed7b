"""Tools that another process offers with `python -m llmi_jax.serve.tools`: the two ends' common language, and
the client.

GET  /health          {"status": "ok"}
GET  /tools           {"tools": [{"spec": …, "provider": …, "model": …, "seeded": …}]}
POST /tools/{name}    {"params": …, "seed": 0, "variant": 0, "candidates": 1, "seconds": 60, "images": {"0":
base64}}
                      → {"outcome": …, "pictures": {sha256: base64}}
"""

import asyncio
import base64
import binascii
import dataclasses
import time
from collections.abc import Mapping
from typing import Any

from llmi_jax.core.errors import ConfigError, DataError
from llmi_jax.core.outcome import ToolOutcome
from llmi_jax.core.toolspec import ToolSpec
from llmi_jax.services import images, records
from llmi_jax.services.faults import ServiceFault
from llmi_jax.tools import pictures
from llmi_jax.tools.registry import Context, Params, Tool
from llmi_jax.tools.servers import Servers

MOST_SECONDS = 3600.0
MOST_CANDIDATES = 16
HEALTH = '/health'


async def served_tool(servers: Servers, name: str) -> Tool:
  """The tool of this name that the servers offer.

  Raises:
    ConfigError: they offer none, or do not answer.
  """
  until = time.monotonic() + 10.0
  try:
    offered = await servers.ask('GET', '/tools', _offers, until=until)
  except ServiceFault as fault:
    raise ConfigError(f'{servers.name} cannot be used: {fault} Start it, or mend its address.') from fault
  if name not in offered:
    known = ', '.join(offered) or 'none'
    raise ConfigError(f'{servers.name} offers no tool {name!r}; it offers {known}.')
  spec, provider, model, seeded = offered[name]

  async def call(params: Params, context: Context) -> ToolOutcome:
    body = request(params, context)
    found = await servers.ask('POST', f'/tools/{name}', lambda data: data, until=context.deadline, json=body)
    return await asyncio.to_thread(_outcome, found)

  return Tool(spec, call, provider=f'served:{provider}', model=model, seeded=seeded, gauges=servers.gauges)


def offer(tool: Tool) -> dict[str, Any]:
  """What the server says of a tool."""
  return {
    'spec': records.encode(tool.spec),
    'provider': tool.provider,
    'model': tool.model,
    'seeded': tool.seeded,
  }


def request(params: Params, context: Context) -> dict[str, Any]:
  """A call as JSON."""
  return {
    'params': dict(params),
    'seed': context.seed,
    'variant': context.variant,
    'candidates': context.candidates,
    'seconds': max(0.0, min(MOST_SECONDS, context.deadline - time.monotonic())),
    'images': {str(position): pictures.encode(image) for position, image in context.images.items()},
  }


def read_request(data: Any, spec: ToolSpec) -> tuple[Params, Context]:
  """A call from JSON that anybody may have written; its pictures are decoded anew.

  Raises:
    DataError: it is no call of this tool.
  """
  try:
    params = dict(data['params'])
    seed, variant = int(data.get('seed', 0)), int(data.get('variant', 0))
    candidates, seconds = int(data.get('candidates', 1)), float(data.get('seconds', 60.0))
    sent = {
      int(position): base64.b64decode(text, validate=True) for position, text in dict(data['images']).items()
    }
  except (KeyError, TypeError, ValueError, AttributeError, OverflowError, binascii.Error) as error:
    raise DataError(f'The request is no call ({error!r:.100}); see llmi_jax/tools/served.py.') from error
  if not (
    0 <= seed < 2**32 and variant >= 0 and 1 <= candidates <= MOST_CANDIDATES and 0 < seconds <= MOST_SECONDS
  ):
    raise DataError('The request has a seed, variant, candidates or seconds out of range.')
  names = [parameter.name for parameter in spec.parameters]
  if sorted(params) != sorted(names):
    raise DataError(
      f'The tool takes {", ".join(names)}; the request has {", ".join(map(str, params)) or "none"}.'
    )
  found = {position: images.decode(png) for position, png in sent.items()}
  for parameter in spec.parameters:
    _check(parameter.type, parameter.name, params[parameter.name], found)
  return params, Context(seed, variant, candidates, time.monotonic() + seconds, found)


def reply(outcome: ToolOutcome) -> dict[str, Any]:
  """An outcome as JSON."""
  found = {image.sha256: pictures.encode(image) for image in records.pictures(outcome)}
  return {'outcome': records.encode(outcome), 'pictures': found}


def _check(kind: str, name: str, value: Any, found: Mapping[int, Any]) -> None:
  if kind == 'string':
    good = isinstance(value, str) and bool(value.strip())
  else:
    good = isinstance(value, int) and not isinstance(value, bool) and value >= 0
  if not good or (kind == 'image' and value not in found):
    raise DataError(f'The parameter {name} is {value!r:.80}; that is no {kind} that was sent.')


def _offers(data: Any) -> dict[str, tuple[ToolSpec, str, str, bool]]:
  found = {}
  for entry in data['tools']:
    spec = records.decode(ToolSpec, entry['spec'], _no_picture)
    found[spec.name] = (spec, str(entry['provider']), str(entry['model']), bool(entry['seeded']))
  return found


def _no_picture(sha256: str) -> bytes:
  raise DataError(f'There is no picture {sha256}.')


def _outcome(data: Any) -> ToolOutcome:
  """The outcome of a reply, its pictures decoded anew.

  Raises:
    ServiceFault: `garbage`.
  """
  try:
    sent = {name: base64.b64decode(text, validate=True) for name, text in data['pictures'].items()}
    outcome = records.decode(ToolOutcome, data['outcome'], sent.__getitem__)
    candidates = tuple(
      dataclasses.replace(candidate, image=images.decode(candidate.image.png, source=candidate.image.source))
      for candidate in outcome.candidates
    )
  except (KeyError, TypeError, ValueError, AttributeError, DataError) as error:
    raise ServiceFault('garbage', f'The tool server sent no outcome ({error!r:.100}).') from error
  return dataclasses.replace(outcome, candidates=candidates)
