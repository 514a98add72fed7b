"""A `generate` behind the chat protocol: a reply is a whole document, its pictures inside.

The content is Markdown in which a picture is a data URL. Beside the protocol's fields the reply says under
`llmi_jax` what it took.
"""

import asyncio
import base64
import hashlib
import re
import secrets
import time
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from llmi_jax.core.answer import Answer, Gap, Picture
from llmi_jax.core.document import ToolCall
from llmi_jax.core.errors import LlmiError
from llmi_jax.core.task import ImagePart, ImageRule, Message, Task
from llmi_jax.serve import asking, door
from llmi_jax.serve.door import Refused
from llmi_jax.services.faults import ServiceFault
from llmi_jax.tts.crew import Generate

MOST_BYTES = 64 << 20  # of a request
_SET = (
  'temperature',
  'max_tokens',
  'max_completion_tokens',
  'top_p',
  'top_k',
  'logprobs',
  'top_logprobs',
  'stream',
)


def app(generate: Generate, name: str, key: str = '') -> Starlette:
  """The protocol as an ASGI application.

  Args:
    generate: writes documents.
    name: of the model.
    key: that requests must show; none where empty.
  """

  async def models(request: Request) -> Response:
    door.admit(request, key)
    return JSONResponse({'object': 'list', 'data': [{'id': name, 'object': 'model', 'owned_by': 'llmi_jax'}]})

  async def complete(request: Request) -> Response:
    door.admit(request, key)
    task, seed = await asyncio.to_thread(read, await door.body(request, MOST_BYTES))
    try:
      answer = (await generate(task, 1, seed))[0]
    except (LlmiError, ServiceFault) as error:
      raise Refused(f'No document could be written: {error}', 500) from error
    return JSONResponse(await asyncio.to_thread(reply, answer, name))

  async def refuse(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    return JSONResponse({'error': {'message': str(error), 'type': 'invalid_request_error'}}, error.status)

  return Starlette(
    routes=[Route('/v1/models', models), Route('/v1/chat/completions', complete, methods=['POST'])],
    exception_handlers={Refused: refuse},
  )


def read(body: bytes) -> tuple[Task, int]:
  """The task of a request and its seed.

  Raises:
    Refused: it is no request, or asks for what is set elsewhere.
  """
  data = asking.fields(body)
  if named := [field for field in _SET if data.get(field)]:
    raise Refused(f'{named[0]} is not served with documents; leave it out.')
  messages = asking.messages(data.get('messages'))
  question = next((_text(m) for m in reversed(messages) if m.role == 'user'), '')
  if not question:
    raise Refused('No message of a user asks for anything.')
  said = [
    [m.role, *(p.image.sha256 if isinstance(p, ImagePart) else p.text for p in m.content)] for m in messages
  ]
  id = 'chat-' + hashlib.sha256(repr(said).encode('utf-8', 'replace')).hexdigest()[:16]
  return Task(id, tuple(messages), question, ImageRule('free'), source='chat'), asking.seed(data)


def _text(message: Message) -> str:
  return ''.join('' if isinstance(part, ImagePart) else part.text for part in message.content).strip()


def reply(answer: Answer, name: str) -> dict[str, Any]:
  """The document as the protocol's completion."""
  used = dict(answer.usage)
  prompt, completion = (int(used.pop(f'{what}_tokens', 0)) for what in ('prompt', 'completion'))
  message = {'role': 'assistant', 'content': markdown(answer)}
  return {
    'id': f'chatcmpl-{secrets.token_hex(12)}',
    'object': 'chat.completion',
    'created': int(time.time()),
    'model': name,
    'choices': [{'index': 0, 'message': message, 'finish_reason': 'stop'}],
    'usage': {
      'prompt_tokens': prompt,
      'completion_tokens': completion,
      'total_tokens': prompt + completion,
    },
    'llmi_jax': used,
  }


def markdown(answer: Answer) -> str:
  """Text, pictures and gaps in order."""
  pieces = []
  for part in answer.parts:
    if isinstance(part, Picture):
      described = part.call.description if isinstance(part.call, ToolCall) else 'picture'
      data = base64.b64encode(part.image.png).decode()
      pieces.append(f'\n\n![{_line(described)}](data:image/png;base64,{data})\n\n')
    elif isinstance(part, Gap):
      pieces.append(f'\n\n*{_line(part.words)}*\n\n')
    else:
      pieces.append(part.text)
  return ''.join(pieces).strip()


def _line(words: str) -> str:
  return re.sub(r'[\[\]()*!\\`<>]', ' ', ' '.join(words.split()))
