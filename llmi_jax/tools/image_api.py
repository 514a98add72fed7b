"""Diffusion and edit behind the images protocol of OpenAI, which Seedream, SeedEdit and many servers speak.

Pictures are asked for with `POST /images/generations`. Edits go to `POST /images/edits` as a form (OpenAI),
or to `/images/generations` with the picture as a data URL (SeedEdit and its kin).
"""

import dataclasses
import json
import re
import secrets
from collections.abc import Mapping
from typing import Any, Literal

from llmi_jax.core.image import Image
from llmi_jax.core.outcome import Candidate, ToolOutcome
from llmi_jax.core.toolspec import ToolSpec
from llmi_jax.services.download import Downloader
from llmi_jax.services.faults import ServiceFault
from llmi_jax.tools import diffusion, edit, pictures
from llmi_jax.tools.registry import Context, Params, Tool, ToolFailure, success
from llmi_jax.tools.servers import Servers

# What providers say when it is the words of a request that they mind: the policy's doing.
_MODERATED = re.compile(
  r'moderat|safety|content.?policy|content.?filter|sensitive|prohibited|violat|nsfw', re.IGNORECASE
)


@dataclasses.dataclass(frozen=True)
class ImageApi:
  """What is asked of the provider.

  Attributes:
    model: its name there.
    size: such as `1024x1024`; left out where empty.
    seeded: whether it takes a seed.
    several: whether it takes `n`; otherwise one call is made per picture.
    form: how edits are sent; see above.
    options: further fields of every request, such as `response_format` or `watermark`.
  """

  model: str
  size: str = ''
  seeded: bool = False
  several: bool = True
  form: Literal['form', 'data_url'] = 'form'
  options: Mapping[str, Any] = dataclasses.field(default_factory=dict)

  @property
  def identity(self) -> str:
    """Everything that decides what it makes."""
    fields = {'size': self.size, 'form': self.form, 'options': dict(self.options)}
    return f'{self.model} {json.dumps(fields, sort_keys=True)}'


def image_tool(
  servers: Servers, downloader: Downloader, api: ImageApi, spec: ToolSpec = diffusion.SPEC
) -> Tool:
  """The diffusion tool on such a provider."""

  async def call(params: Params, context: Context) -> ToolOutcome:
    asked = {'prompt': str(params['prompt'])}
    return await _gather(
      lambda n, seed: _generate(servers, downloader, api, asked, context, n, seed), api, context
    )

  return _tool(spec, call, servers, api)


def image_edit_tool(
  servers: Servers, downloader: Downloader, api: ImageApi, spec: ToolSpec = edit.SPEC
) -> Tool:
  """The edit tool on such a provider."""

  async def call(params: Params, context: Context) -> ToolOutcome:
    image = context.images[int(params['img_index'])]
    asked = {'prompt': str(params['prompt'])}

    def one(n: int, seed: int):
      if api.form == 'form':
        return _edit(servers, downloader, api, asked, image, context, n, seed)
      inline = asked | {'image': f'data:image/png;base64,{pictures.encode(image)}'}
      return _generate(servers, downloader, api, inline, context, n, seed)

    return await _gather(one, api, context)

  return _tool(spec, call, servers, api)


def _tool(spec: ToolSpec, call, servers: Servers, api: ImageApi) -> Tool:
  return Tool(spec, call, provider=servers.name, model=api.identity, seeded=api.seeded, gauges=servers.gauges)


async def _gather(one, api: ImageApi, context: Context) -> ToolOutcome:
  """As many pictures as are wanted, by one call or by several."""
  calls = [(context.candidates, context.seed)]
  if not api.several:
    calls = [(1, context.seed + index) for index in range(context.candidates)]
  try:
    found = await pictures.together(one(count, seed) for count, seed in calls)
  except ServiceFault as fault:
    if fault.status in (400, 403, 422, 451) and _MODERATED.search(str(fault)):
      raise ToolFailure(f'The provider refuses this prompt: {fault}', 'policy', 'invalid') from fault
    raise
  return success(*(candidate for some in found for candidate in some))


async def _generate(
  servers: Servers,
  downloader: Downloader,
  api: ImageApi,
  asked: Mapping[str, Any],
  context: Context,
  count: int,
  seed: int,
) -> list[Candidate]:
  body = _fields(api, count, seed) | dict(asked)
  found = await servers.ask('POST', '/images/generations', _pictures, until=context.deadline, json=body)
  return await pictures.take(found, downloader, until=context.deadline, source='diffusion')


async def _edit(
  servers: Servers,
  downloader: Downloader,
  api: ImageApi,
  asked: Mapping[str, Any],
  image: Image,
  context: Context,
  count: int,
  seed: int,
) -> list[Candidate]:
  content, kind = form(_fields(api, count, seed) | dict(asked), image)
  found = await servers.ask(
    'POST',
    '/images/edits',
    _pictures,
    until=context.deadline,
    content=content,
    headers={'content-type': kind},
  )
  return await pictures.take(found, downloader, until=context.deadline, source='edit')


def _fields(api: ImageApi, count: int, seed: int) -> dict[str, Any]:
  fields: dict[str, Any] = {'model': api.model, **api.options}
  if api.size:
    fields['size'] = api.size
  if api.several and count > 1:
    fields['n'] = count
  if api.seeded:
    fields['seed'] = seed
  return fields


def _pictures(data: Any) -> list[pictures.Sent]:
  return pictures.sent(data['data'])


def form(fields: Mapping[str, Any], image: Image) -> tuple[bytes, str]:
  """(body, content type) of a multipart form with one PNG, as RFC 7578 has it."""
  boundary = secrets.token_hex(16)
  parts = []
  for name, value in fields.items():
    text = value if isinstance(value, str) else json.dumps(value)
    parts.append(f'--{boundary}\r\ncontent-disposition: form-data; name="{name}"\r\n\r\n{text}\r\n'.encode())
  head = (
    f'--{boundary}\r\ncontent-disposition: form-data; name="image"; filename="image.png"\r\n'
    'content-type: image/png\r\n\r\n'
  )
  parts.append(head.encode() + image.png + f'\r\n--{boundary}--\r\n'.encode())
  return b''.join(parts), f'multipart/form-data; boundary={boundary}'
