"""Requests of the chat protocol, read: what is not served is refused in one sentence."""

import base64
import binascii
import dataclasses
import json
import re
import secrets
from collections.abc import Callable
from typing import Any

from llmi_jax.core.errors import DataError, WeightsError
from llmi_jax.core.image import Image
from llmi_jax.core.prompt import Prompt
from llmi_jax.core.task import ImagePart, Message, Part, TextPart
from llmi_jax.rollout.batcher import Job
from llmi_jax.serve.door import Refused
from llmi_jax.services import images

# What changes a reply and is not served.
_REFUSED = ('tools', 'functions', 'stop', 'logit_bias', 'response_format')
_PENALTIES = ('frequency_penalty', 'presence_penalty')
MOST_PICTURES = 64  # of a request
MOST_PIXELS = 16 << 20  # of a picture
_DATA_URL = re.compile(r'data:image/[\w.+-]+;base64,')


@dataclasses.dataclass(frozen=True)
class Asked:
  """A request as read.

  Attributes:
    job: for the batcher.
    stream: whether the reply is sent as it comes.
    logprobs: whether log-probabilities are wanted.
  """

  job: Job
  stream: bool
  logprobs: bool


def read(body: bytes, encode: Callable[[list[Message]], Prompt], most: int) -> Asked:
  """Reads a request; slow where it has pictures.

  Args:
    body: JSON.
    encode: messages → prompt; what it raises as `DataError` or `WeightsError` is refused in its words.
    most: tokens of a reply.

  Raises:
    Refused: it is none, or asks for what is not served.
  """
  data = fields(body)
  if data.get('top_logprobs'):
    raise Refused('top_logprobs is not served; logprobs gives those of the reply.')
  if data.get('top_p', 1) != 1 or data.get('top_k', -1) not in (-1, 0):
    raise Refused('top_p and top_k are not served; replies are drawn from the whole distribution.')
  limit = _number(data, _limit_name(data), most, 1, most, whole=True)
  temperature = float(_number(data, 'temperature', 1.0, 0.0, 2.0))
  try:
    prompt = encode(messages(data.get('messages')))
  except (DataError, WeightsError) as error:
    raise Refused(str(error)) from error
  job = Job(prompt, seed(data), int(limit), temperature)
  return Asked(job, data.get('stream') is True, data.get('logprobs') is True)


def fields(body: bytes) -> dict[str, Any]:
  """A request's fields; what every server here refuses is refused.

  Raises:
    Refused: it is no request, or asks for what nobody serves.
  """
  try:
    data = json.loads(body)
  except (ValueError, RecursionError) as error:
    raise Refused('The request is not JSON.') from error
  if not isinstance(data, dict):
    raise Refused('The request is no JSON object.')
  if asked := [name for name in (*_REFUSED, *_PENALTIES) if data.get(name)]:
    raise Refused(f'{asked[0]} is not served.')
  if data.get('n', 1) != 1:
    raise Refused('n is not 1; ask once per reply.')
  return data


def seed(data: dict[str, Any]) -> int:
  """The request's seed, or a fresh one."""
  return int(_number(data, 'seed', secrets.randbelow(1 << 31), 0, (1 << 31) - 1, whole=True))


def messages(data: Any) -> list[Message]:
  """The request's messages; slow where they have pictures.

  Raises:
    Refused: they are none.
  """
  if not isinstance(data, list) or not data:
    raise Refused('messages is no list, or empty.')
  if sum(map(_pictures, data)) > MOST_PICTURES:
    raise Refused(f'The request has more than {MOST_PICTURES} pictures.')
  found = []
  for message in data:
    role = message.get('role') if isinstance(message, dict) else None
    if role not in ('system', 'user', 'assistant'):
      raise Refused(f'A message has the role {str(role)[:40]!r}; known are system, user and assistant.')
    found.append(Message(role, _content(message.get('content'))))
  return found


def _pictures(message: Any) -> int:
  """How many parts may be pictures, before any is decoded."""
  content = message.get('content') if isinstance(message, dict) else None
  parts = content if isinstance(content, list) else []
  return sum(isinstance(part, dict) and part.get('type') != 'text' for part in parts)


def _content(content: Any) -> tuple[Part, ...]:
  if isinstance(content, str):
    return (TextPart(content),)
  if not isinstance(content, list):
    raise Refused('The content of a message is neither a text nor a list of parts.')
  return tuple(map(_part, content))


def _part(part: Any) -> Part:
  kind = part.get('type') if isinstance(part, dict) else None
  if kind == 'text' and isinstance(part.get('text'), str):
    return TextPart(part['text'])
  if kind == 'image_url':
    place = part.get('image_url')
    return ImagePart(_picture(place.get('url') if isinstance(place, dict) else place))
  raise Refused('A message holds something else than texts and pictures.')


def _picture(url: Any) -> Image:
  """The picture in a data URL; nothing is ever fetched."""
  found = _DATA_URL.match(url) if isinstance(url, str) else None
  if not found:
    raise Refused('A picture is not given as data:image/…;base64,…; pictures elsewhere are not fetched.')
  try:
    data = base64.b64decode(url[found.end() :], validate=True)
  except (binascii.Error, ValueError) as error:
    raise Refused('The data URL of a picture is no base64.') from error
  return images.decode(data, max_pixels=MOST_PIXELS)


def _limit_name(data: dict[str, Any]) -> str:
  """The protocol has two names for it."""
  return 'max_completion_tokens' if data.get('max_completion_tokens') is not None else 'max_tokens'


def _number(
  data: dict[str, Any], name: str, default: float, low: float, high: float, whole: bool = False
) -> float:
  value = data.get(name)
  if value is None:
    return default
  plain = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
  if not plain or not low <= value <= high:
    kind = 'a whole number' if whole else 'a number'
    said = json.dumps(value)[:40]
    raise Refused(f'{name} is {said}; it must be {kind} from {low:g} to {high:g}.')
  return value
