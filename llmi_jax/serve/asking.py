"""Requests of the chat protocol, read: what is not served is refused in one sentence."""

import dataclasses
import json
import secrets
from typing import Any

from llmi_jax.core.errors import WeightsError
from llmi_jax.serve.batcher import Job
from llmi_jax.serve.door import Refused
from llmi_jax.text.chat import encode_chat
from llmi_jax.text.tokens import Tokenizer

# What changes a reply and is not served.
_REFUSED = ('tools', 'functions', 'stop', 'logit_bias', 'response_format')
_PENALTIES = ('frequency_penalty', 'presence_penalty')


@dataclasses.dataclass(frozen=True)
class Limits:
  """Sizes that the engine was built with, in tokens."""

  prompt: int
  response: int


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


def read(body: bytes, tokenizer: Tokenizer, limits: Limits) -> Asked:
  """Reads a request.

  Raises:
    Refused: it is none, or asks for what is not served.
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
  if data.get('top_logprobs'):
    raise Refused('top_logprobs is not served; logprobs gives those of the reply.')
  if data.get('top_p', 1) != 1 or data.get('top_k', -1) not in (-1, 0):
    raise Refused('top_p and top_k are not served; replies are drawn from the whole distribution.')
  try:
    tokens, _ = encode_chat(tokenizer, _messages(data.get('messages')))
  except WeightsError as error:
    raise Refused(str(error)) from error
  if len(tokens) > limits.prompt:
    raise Refused(f'The prompt has {len(tokens)} tokens; at most {limits.prompt} are read.')
  job = Job(
    tokens,
    int(_number(data, 'seed', secrets.randbelow(1 << 31), 0, (1 << 31) - 1, whole=True)),
    int(_number(data, _limit_name(data), limits.response, 1, limits.response, whole=True)),
    float(_number(data, 'temperature', 1.0, 0.0, 2.0)),
  )
  return Asked(job, data.get('stream') is True, data.get('logprobs') is True)


def _messages(data: Any) -> list[tuple[str, str]]:
  """(role, text) pairs."""
  if not isinstance(data, list) or not data:
    raise Refused('messages is no list, or empty.')
  found = []
  for message in data:
    role = message.get('role') if isinstance(message, dict) else None
    if role not in ('system', 'user', 'assistant'):
      raise Refused(f'A message has the role {str(role)[:40]!r}; known are system, user and assistant.')
    found.append((role, _text(message.get('content'))))
  return found


def _text(content: Any) -> str:
  if isinstance(content, str):
    return content
  texts = []
  for part in content if isinstance(content, list) else [None]:
    text = part.get('text') if isinstance(part, dict) and part.get('type') == 'text' else None
    if not isinstance(text, str):
      raise Refused('A message holds something else than text; this policy reads text alone.')
    texts.append(text)
  return ''.join(texts)


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
