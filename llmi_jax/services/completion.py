"""A chat completion, asked for and given: the records, and their form in the OpenAI protocol."""

import base64
import dataclasses
import json
import math
from collections.abc import Mapping
from typing import Any

from PIL import Image as Pil

from llmi_jax.core.image import Image
from llmi_jax.core.task import ImagePart, Message, Part
from llmi_jax.services import images
from llmi_jax.services.cache import content_key
from llmi_jax.services.faults import ServiceFault


@dataclasses.dataclass(frozen=True)
class ChatRequest:
  """What is asked.

  Attributes:
    messages: texts and pictures in order.
    temperature: of sampling.
    max_tokens: of the reply.
    seed: of sampling; not sent where None, since some servers refuse it.
    schema: a JSON schema that the reply must follow; not sent where None.
    logprobs: how many alternatives per token to report; not asked for where None.
  """

  messages: tuple[Message, ...]
  temperature: float = 0.0
  max_tokens: int = 512
  seed: int | None = None
  schema: Mapping[str, Any] | None = None
  logprobs: int | None = None

  def digest(self, model: str, image_pixels: int) -> str:
    """What a reply depends on, as a hex digest: the key of caches."""
    said = [
      [m.role, [p.image.sha256 if isinstance(p, ImagePart) else [p.text] for p in m.content]]
      for m in self.messages
    ]
    settings = [self.temperature, self.max_tokens, self.seed, self.schema, self.logprobs, image_pixels]
    return content_key('chat', model=model, messages=said, settings=settings)


@dataclasses.dataclass(frozen=True)
class TokenLogprob:
  """A token of the reply, its log-probability, and the alternatives to it."""

  token: str
  logprob: float
  top: tuple[tuple[str, float], ...] = ()


@dataclasses.dataclass(frozen=True)
class ChatReply:
  """What was answered.

  Attributes:
    text: the reply; a refusal's words where the server marks one.
    model: as the server names it.
    finish: `stop`, `length` or another word of the server's.
    prompt_tokens: as counted by the server; 0 where it does not say.
    completion_tokens: likewise.
    logprobs: of the reply's tokens, where asked for.
    seconds: of the whole call, retries and waiting for a place left out.
    attempts: tries made.
  """

  text: str
  model: str
  finish: str = 'stop'
  prompt_tokens: int = 0
  completion_tokens: int = 0
  logprobs: tuple[TokenLogprob, ...] = ()
  seconds: float = 0.0
  attempts: int = 1


def encode(request: ChatRequest, model: str, image_pixels: int) -> bytes:
  """The request as the protocol writes it, encoded; slow where pictures are large."""
  body: dict[str, Any] = {
    'model': model,
    'messages': [{'role': m.role, 'content': _content(m.content, image_pixels)} for m in request.messages],
    'temperature': request.temperature,
    'max_tokens': request.max_tokens,
  }
  if request.seed is not None:
    body['seed'] = request.seed
  if request.schema is not None:
    schema = {'name': 'reply', 'strict': True, 'schema': dict(request.schema)}
    body['response_format'] = {'type': 'json_schema', 'json_schema': schema}
  if request.logprobs is not None:
    body |= {'logprobs': True, 'top_logprobs': request.logprobs}
  return json.dumps(body).encode()


def _content(parts: tuple[Part, ...], image_pixels: int) -> str | list[dict[str, Any]]:
  """A plain string where there are no pictures, which every server takes."""
  if not any(isinstance(part, ImagePart) for part in parts):
    return ''.join(part.text for part in parts if not isinstance(part, ImagePart))
  return [
    {'type': 'image_url', 'image_url': {'url': _data_url(bounded(part.image, image_pixels))}}
    if isinstance(part, ImagePart)
    else {'type': 'text', 'text': part.text}
    for part in parts
  ]


def bounded(image: Image, pixels: int) -> Image:
  """The picture scaled down to at most `pixels` pixels; itself where it is small enough."""
  if image.width * image.height <= pixels:
    return image
  share = math.sqrt(pixels / (image.width * image.height))
  size = max(1, int(image.width * share)), max(1, int(image.height * share))
  return images.from_pil(images.to_pil(image).resize(size, Pil.Resampling.LANCZOS), source=image.source)


def _data_url(image: Image) -> str:
  return 'data:image/png;base64,' + base64.b64encode(image.png).decode()


def decode(data: Any) -> ChatReply:
  """A reply of the protocol.

  Raises:
    ServiceFault: `garbage`, it is none.
  """
  try:
    choice, usage = data['choices'][0], data.get('usage') or {}
    message = choice['message']
    text = message.get('content') or message.get('refusal') or ''
    if not isinstance(text, str):
      raise TypeError('content is no text')
    return ChatReply(
      text,
      str(data.get('model') or ''),
      str(choice.get('finish_reason') or ''),
      int(usage.get('prompt_tokens') or 0),
      int(usage.get('completion_tokens') or 0),
      _logprobs(choice.get('logprobs')),
    )
  except (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError) as error:
    raise ServiceFault('garbage', f'The reply is no chat completion ({error!r:.100}).') from error


def _logprobs(data: Any) -> tuple[TokenLogprob, ...]:
  return tuple(
    TokenLogprob(
      str(entry['token']),
      float(entry['logprob']),
      tuple((str(other['token']), float(other['logprob'])) for other in entry.get('top_logprobs') or ()),
    )
    for entry in (data or {}).get('content') or ()
  )
