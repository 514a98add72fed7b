"""Diffusion and edit behind the servers of Qwen-Image and Qwen-Image-Edit: `POST /generate/` and `POST
/edit/`.

    {"prompt": …, "height": …, "width": …, "num_inference_steps": …}      →  {"status": "success", "images":
    [base64 …]} {"image_b64": …, "prompt": …, "num_inference_steps": …}               →  the same

A server takes no seed and makes one picture per call; `GET /health` says that it is up.
"""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from llmi_jax.core.outcome import Candidate, ToolOutcome
from llmi_jax.core.toolspec import ToolSpec
from llmi_jax.services.faults import ServiceFault
from llmi_jax.tools import diffusion, edit, pictures
from llmi_jax.tools.registry import Context, Params, Tool, success
from llmi_jax.tools.servers import Servers

HEALTH = '/health'


@dataclasses.dataclass(frozen=True)
class QwenImage:
  """How it is to paint.

  Attributes:
    width: pixels; not for edits.
    height: pixels; not for edits.
    steps: of denoising; the released system takes 25, and 50 for edits.
    negative: what is not wanted; left out where empty.
  """

  width: int = 1024
  height: int = 1024
  steps: int = 25
  negative: str = ''

  @property
  def identity(self) -> str:
    """Everything that decides what it makes."""
    return f'qwen-image {json.dumps(dataclasses.asdict(self), sort_keys=True)}'


def qwen_image_tool(servers: Servers, settings: QwenImage, spec: ToolSpec = diffusion.SPEC) -> Tool:
  """The diffusion tool on such servers."""

  async def call(params: Params, context: Context) -> ToolOutcome:
    body = _body(settings, params) | {'width': settings.width, 'height': settings.height}
    return await _ask(servers, '/generate/', body, context, 'diffusion')

  return Tool(spec, call, provider=servers.name, model=settings.identity, gauges=servers.gauges)


def qwen_image_edit_tool(servers: Servers, settings: QwenImage, spec: ToolSpec = edit.SPEC) -> Tool:
  """The edit tool on such servers."""

  async def call(params: Params, context: Context) -> ToolOutcome:
    image = context.images[int(params['img_index'])]
    body = _body(settings, params) | {'image_b64': pictures.encode(image)}
    return await _ask(servers, '/edit/', body, context, 'edit')

  return Tool(spec, call, provider=servers.name, model=settings.identity, gauges=servers.gauges)


def _body(settings: QwenImage, params: Params) -> dict[str, Any]:
  negative = {'negative_prompt': settings.negative} if settings.negative else {}
  return {'prompt': str(params['prompt']), 'num_inference_steps': settings.steps, **negative}


async def _ask(
  servers: Servers, path: str, body: Mapping[str, Any], context: Context, source: str
) -> ToolOutcome:
  async def one() -> Candidate:
    encoded = await servers.ask('POST', path, _picture, until=context.deadline, json=body)
    return Candidate(await pictures.decode(encoded, source))

  return success(*await pictures.together(one() for _ in range(context.candidates)))


def _picture(data: Any) -> str:
  if data['status'] != 'success':
    raise ServiceFault('server', f'The server says {str(data["status"])[:100]!r}.')
  encoded = data['images'][0]
  if not isinstance(encoded, str):
    raise TypeError('the picture is no text')
  return encoded
