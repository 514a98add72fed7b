"""A policy behind the OpenAI chat protocol, on our own engine.

    python -m llmi_jax.serve.chat --policy=RUN [--host=127.0.0.1] [--port=8000] [--rows=8]

RUN is a work folder (its newest checkpoint answers), a Hugging Face folder, or `builtin:tiny`. Requests
that come together are decoded together. Served: `/v1/models`, `/v1/chat/completions` with `stream`, `seed`,
`temperature`, `max_tokens` and `logprobs`, and `/metrics` for Prometheus; what is not served is refused in
one sentence. A policy with a vision tower is shown pictures, which come inside the request as data URLs. The
environment variable LLMI_JAX_CHAT_KEY, where set, is the bearer token that requests must show; without one
only this machine is served.

With `--tts=configs/tts_small.py` a reply is a document, its tools run: the best that test-time scaling finds,
as Markdown with its pictures inside. RUN is a work folder then, whose config says which tools there are.
"""

import asyncio
import collections
import contextlib
import json
import pathlib
import secrets
import time
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
from absl import flags
from ml_collections import ConfigDict

from llmi_jax import compilation, front, scaling, speaking, wiring
from llmi_jax.core.prompt import Prompt
from llmi_jax.core.task import Message
from llmi_jax.rollout.batcher import Batcher, Full, Job
from llmi_jax.rollout.device import Device
from llmi_jax.sampling.request import Sample
from llmi_jax.serve.asking import Asked, read
from llmi_jax.services import home, ports
from llmi_jax.speaking import Limits
from llmi_jax.text import conversation
from llmi_jax.text.tokens import Tokenizer

try:
  import uvicorn
  from starlette.applications import Starlette
  from starlette.requests import Request
  from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
  from starlette.routing import Route

  from llmi_jax.serve import documents, door
  from llmi_jax.serve.door import Refused
except ImportError as error:
  raise SystemExit(f'Error: {error}; pip install "llmi_jax[serve]".') from error

POLICY = flags.DEFINE_string(
  'policy', None, 'Work folder, Hugging Face folder or builtin:NAME.', required=True
)
NAME = flags.DEFINE_string('name', None, 'What the model is called; default: the folder.')
ROWS = flags.DEFINE_integer('rows', 8, 'Replies that are decoded together.')
PROMPT = flags.DEFINE_integer('prompt_tokens', 1024, 'Longest prompt, pictures included.')
PIXELS = flags.DEFINE_integer('pixels', 0, 'Larger pictures are scaled down to it; 0: as the model has it.')
RESPONSE = flags.DEFINE_integer('response_tokens', 512, 'Longest reply.')
KEY, DEFAULT_PORT = 'LLMI_JAX_CHAT_KEY', 8000
MOST_BYTES, MOST_BYTES_SEEN = 4 << 20, 64 << 20  # of a request without and with pictures


def main(_: ConfigDict) -> None:
  """Serves until it is stopped."""
  compilation.keep(home.cache('xla'))
  asyncio.run(serve(POLICY.value, NAME.value or pathlib.Path(POLICY.value).name))


async def serve(path: str, name: str) -> None:
  """Loads the policy and serves it.

  Raises:
    ConfigError: others than this machine would be served without a key, or the port is taken.
    WeightsError: the policy cannot be loaded.
  """
  host, port = door.HOST.value, door.PORT.value or DEFAULT_PORT
  key, chosen = door.key(KEY, host), scaling.read()
  listening, device = ports.listen(port, host), Device()
  try:
    async with _application(path, name, key, chosen, device) as application:
      settings = uvicorn.Config(application, host, port, log_level='warning', lifespan='off', ws='none')
      print(f'Serving {name} on http://{host}:{port}/v1', flush=True)
      await uvicorn.Server(settings).serve([listening])
  finally:
    listening.close()
    device.close()


@contextlib.asynccontextmanager
async def _application(
  path: str, name: str, key: str, chosen: Any, device: Device
) -> AsyncIterator[Starlette]:
  """The plain policy, or the scaled one."""
  if chosen is None:
    policy = speaking.load(path, PIXELS.value)
    limits = Limits(PROMPT.value, RESPONSE.value, ROWS.value)
    async with speaking.batching(policy, device, limits) as batcher:
      yield app(batcher, policy, limits, name, key)
    return
  run, policy = wiring.trained(path)
  async with scaling.policy(chosen, run, policy, device, seed=0, origin=name) as generate:
    yield documents.app(generate, name, key)


def app(batcher: Batcher, policy: wiring.Policy, limits: Limits, name: str, key: str = '') -> Starlette:
  """The protocol as an ASGI application.

  Args:
    batcher: makes replies.
    policy: whose tokenizer and picture processor read and write.
    limits: of prompts and replies.
    name: of the model.
    key: that requests must show; none where empty.
  """
  tokenizer, tally = policy.tokenizer, collections.Counter[str]()
  most = MOST_BYTES if policy.processor is None else MOST_BYTES_SEEN

  def encode(messages: list[Message]) -> Prompt:
    prompt = conversation.encode(messages, tokenizer, limit=limits.prompt, processor=policy.processor)
    batcher.sight.check(prompt)
    return prompt

  async def models(request: Request) -> Response:
    door.admit(request, key)
    return JSONResponse({'object': 'list', 'data': [{'id': name, 'object': 'model', 'owned_by': 'llmi_jax'}]})

  async def complete(request: Request) -> Response:
    door.admit(request, key)
    body = await door.body(request, most)
    asked = await asyncio.to_thread(read, body, encode, limits.response)
    try:
      batcher.submit(asked.job)
    except Full as full:
      raise Refused(str(full), 429) from full
    tally['requests'] += 1
    tally['prompt_tokens'] += len(asked.job.prompt.tokens)
    head = {'id': f'chatcmpl-{secrets.token_hex(12)}', 'created': int(time.time()), 'model': name}
    if asked.stream:
      return StreamingResponse(_events(asked, tokenizer, head), media_type='text/event-stream')
    return JSONResponse(whole(await _last(asked.job), asked, tokenizer, head))

  async def refuse(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    tally['refused'] += 1
    kind = 'invalid_request_error' if error.status < 429 else 'rate_limit_error'
    return JSONResponse({'error': {'message': str(error), 'type': kind}}, error.status)

  async def metrics(request: Request) -> Response:
    door.admit(request, key)
    seen = batcher.sight.counts
    counted = {name: tally[name] for name in ('requests', 'refused', 'prompt_tokens')}
    counted |= {'prompts_with_pictures': seen.prompts, 'pictures': seen.pictures, 'image_tokens': seen.tokens}
    lines = [
      f'# TYPE llmi_jax_{name}_total counter\nllmi_jax_{name}_total {n}\n' for name, n in counted.items()
    ]
    return PlainTextResponse(''.join(lines))

  return Starlette(
    routes=[
      Route('/v1/models', models),
      Route('/v1/chat/completions', complete, methods=['POST']),
      Route('/metrics', metrics),
    ],
    exception_handlers={Refused: refuse},
  )


def whole(sample: Sample, asked: Asked, tokenizer: Tokenizer, head: dict[str, Any]) -> dict[str, Any]:
  """The reply to a request that does not stream."""
  message = {'role': 'assistant', 'content': tokenizer.decode(sample.tokens)}
  choice: dict[str, Any] = {'index': 0, 'message': message, 'finish_reason': sample.finish}
  if asked.logprobs:
    choice['logprobs'] = {'content': _logprobs(sample, tokenizer)}
  return head | {'object': 'chat.completion', 'choices': [choice], 'usage': _usage(sample, asked)}


async def _events(asked: Asked, tokenizer: Tokenizer, head: dict[str, Any]) -> AsyncIterator[str]:
  """The reply as server-sent events; a character comes once it is whole."""
  head, writer, done = head | {'object': 'chat.completion.chunk'}, tokenizer.decoder(), 0
  try:
    yield _event(head, {'role': 'assistant', 'content': ''})
    while True:
      event = await asked.job.events.get()
      if isinstance(event, BaseException):
        yield f'data: {json.dumps({"error": {"message": _sorry(event)}})}\n\n'
        return
      tokens = event.tokens if isinstance(event, Sample) else event
      text = ''.join(writer.push(int(token)) for token in tokens[done:])
      done = len(tokens)
      if isinstance(event, Sample):
        text += writer.close()
      if text:
        yield _event(head, {'content': text})
      if isinstance(event, Sample):
        extra = {'logprobs': {'content': _logprobs(event, tokenizer)}} if asked.logprobs else {}
        yield _event(head | {'usage': _usage(event, asked)}, {}, event.finish, extra)
        yield 'data: [DONE]\n\n'
        return
  finally:
    asked.job.dropped = True  # by a client that is gone, if not at the end


def _event(head: dict[str, Any], delta: dict[str, str], finish: str | None = None, extra: Any = None) -> str:
  choice = {'index': 0, 'delta': delta, 'finish_reason': finish} | (extra or {})
  return f'data: {json.dumps(head | {"choices": [choice]})}\n\n'


async def _last(job: Job) -> Sample:
  """Waits for the end of a reply."""
  try:
    return await job.last()
  except Exception as error:
    raise Refused(_sorry(error), 500) from error


def _sorry(error: BaseException) -> str:
  return f'The reply could not be made ({type(error).__name__}).'


def _logprobs(sample: Sample, tokenizer: Tokenizer) -> list[dict[str, Any]]:
  """Log-probabilities at temperature 1 over the whole vocabulary."""
  return [
    {'token': tokenizer.decode(np.array([token])), 'logprob': float(value), 'top_logprobs': []}
    for token, value in zip(sample.tokens, sample.logp_full)
  ]


def _usage(sample: Sample, asked: Asked) -> dict[str, int]:
  prompt, reply = len(asked.job.prompt.tokens), len(sample.tokens)
  return {'prompt_tokens': prompt, 'completion_tokens': reply, 'total_tokens': prompt + reply}


if __name__ == '__main__':
  front.run(main, config_required=False)
