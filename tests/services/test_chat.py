import asyncio
import base64
import time

import numpy as np
import pytest

from llmi_jax.core.errors import ConfigError
from llmi_jax.core.task import ImagePart, Message, TextPart
from llmi_jax.services import images
from llmi_jax.services.chat import ChatClient, ChatRequest, ChatSettings
from llmi_jax.services.completion import bounded
from llmi_jax.services.faults import ServiceFault
from llmi_jax.services.http import retry_after
from llmi_jax.services.limits import Limit
from llmi_jax.services.retry import Retry
from tests.doubles.chat import Act, ChatServer

HELLO = ChatRequest((Message('user', (TextPart('hello'),)),))
QUICK = Retry(3, base=0.01, cap=0.02)


def ask(script, request=HELLO, *, count=1, model='', key='', seconds=5.0, attempt=1.0, retry=QUICK, places=8):
  """(replies or faults, server, gauges) of calls made together."""

  async def main():
    async with ChatServer(script) as server:
      limit = Limit(places, seconds)
      settings = ChatSettings((server.url,), model, key, limit, attempt, retry, image_pixels=64)
      async with ChatClient(settings) as chat:
        work = (chat.complete(request) for _ in range(count))
        found = await asyncio.gather(*work, return_exceptions=True)
        return found, server, chat.gauges()

  return asyncio.run(main())


def test_a_reply_comes_with_model_and_usage():
  (reply,), server, gauges = ask(lambda *_: Act(text='hi'), key='secret')
  assert (reply.text, reply.model, reply.prompt_tokens, reply.completion_tokens) == ('hi', 'double', 11, 7)
  assert server.headers[0]['authorization'] == 'Bearer secret'
  assert server.requests[0]['messages'] == [{'role': 'user', 'content': 'hello'}]
  assert not {'seed', 'response_format', 'logprobs'} & server.requests[0].keys()
  assert gauges['calls'] == 1 and gauges['in_flight'] == gauges['retries'] == 0


def test_options_are_sent_as_the_protocol_writes_them():
  schema = {'type': 'object'}
  request = ChatRequest(HELLO.messages, 0.5, 9, seed=3, schema=schema, logprobs=2)
  (reply,), server, _ = ask(lambda *_: Act(text='{}'), request)
  body = server.requests[0]
  assert (body['temperature'], body['max_tokens'], body['seed'], body['top_logprobs']) == (0.5, 9, 3, 2)
  assert body['response_format']['json_schema']['schema'] == schema
  assert reply.logprobs[0].top == (('a', -0.5), ('b', -1.5))


def test_texts_and_pictures_keep_their_order_and_pictures_their_bound():
  large = images.from_array(np.arange(40 * 30 * 3, dtype=np.uint8).reshape(30, 40, 3))
  small = bounded(large, 64)
  assert small.width * small.height <= 64 and bounded(small, 64) is small
  parts = (TextPart('before'), ImagePart(large), TextPart('after'), ImagePart(small))
  _, server, _ = ask(lambda *_: Act(), ChatRequest((Message('user', parts),)))
  content = server.requests[0]['messages'][0]['content']
  assert [part['type'] for part in content] == ['text', 'image_url', 'text', 'image_url']
  for part in content[1::2]:
    data = base64.b64decode(part['image_url']['url'].removeprefix('data:image/png;base64,'))
    assert images.decode(data).sha256 == small.sha256


@pytest.mark.parametrize(
  ('act', 'cause', 'sent'),
  [
    (Act('status', 'slow down', 429), 'busy', 3),
    (Act('status', 'oops', 500), 'server', 3),
    (Act('status', 'wait', 408), 'server', 3),
    (Act('status', 'bad', 400), 'refused', 1),
    (Act('status', 'who', 401), 'refused', 1),
    (Act('status', 'no', 403), 'refused', 1),
    (Act('status', 'where', 404), 'refused', 1),
    (Act('status', 'what', 422), 'refused', 1),
    (Act('raw', status=302, headers=(('location', 'http://127.0.0.1:1/'),)), 'refused', 1),
    (Act('raw', '{"error": {"code": "insufficient_quota"}}', 429), 'busy', 1),
    (Act('die'), 'connection', 3),
    (Act('cut', 'half a word'), 'connection', 3),
    (Act('raw', '<html>'), 'garbage', 3),
    (Act('raw', '{"choices": []}'), 'garbage', 3),
    (Act('raw', '[1]'), 'garbage', 3),
    (Act('raw', '{"choices": [{"message": {"content": 5}}]}'), 'garbage', 3),
    (Act('raw', '[' * 100_000), 'garbage', 3),
    (Act('raw', 'x' * (5 << 20)), 'oversize', 1),
  ],
)
def test_every_fault_has_its_name_and_only_passing_ones_are_tried_again(act, cause, sent):
  (fault,), server, _ = ask(lambda *_: act)
  assert isinstance(fault, ServiceFault), fault
  assert (fault.cause, len(server.requests), fault.attempts) == (cause, sent, sent)


@pytest.mark.parametrize('kind', ['hang', 'drip'])
def test_a_server_that_does_not_end_is_ended(kind):
  began = time.monotonic()
  (fault,), server, _ = ask(lambda *_: Act(kind), seconds=0.4, attempt=0.15)
  assert fault.cause == 'deadline' and len(server.requests) >= 2
  assert time.monotonic() - began < 3


def test_a_retry_may_succeed_and_is_counted():
  (reply,), _, gauges = ask(lambda _, number: Act('status', 'x', 500) if number < 3 else Act(text='at last'))
  assert (reply.text, reply.attempts, gauges['retries']) == ('at last', 3, 2)


def test_at_most_so_many_calls_run_at_once():
  _, server, _ = ask(lambda *_: Act(text='x', seconds=0.02), count=12, places=3)
  assert server.most == 3


def test_the_pool_survives_a_storm_of_cancelled_calls():
  async def main():
    async with ChatServer(lambda *_: Act(text='x', seconds=0.02)) as server:
      async with ChatClient(ChatSettings((server.url,), limit=Limit(4, 5.0))) as chat:
        for round_ in range(30):
          work = [asyncio.ensure_future(chat.complete(HELLO)) for _ in range(8)]
          await asyncio.sleep(0.002 * (round_ % 7))
          for one in work:
            one.cancel()
          await asyncio.gather(*work, return_exceptions=True)
        replies = await asyncio.gather(*(chat.complete(HELLO) for _ in range(8)))
        return replies, chat.gauges()

  replies, gauges = asyncio.run(main())
  assert [reply.text for reply in replies] == ['x'] * 8 and gauges['in_flight'] == 0


def test_load_is_shared_and_a_dead_place_is_left_alone():
  async def main():
    slow = lambda *_: Act(text='x', seconds=0.01)
    dying = lambda _, number: slow() if number <= 8 else Act('die')
    async with ChatServer(slow) as one, ChatServer(dying) as two:
      settings = ChatSettings((one.url, two.url), limit=Limit(8, 5.0), retry=Retry(4, 0.01, 0.02, burst=100))
      async with ChatClient(settings) as chat:
        await asyncio.gather(*(chat.complete(HELLO) for _ in range(16)))
        shared = len(one.requests), len(two.requests)
        for _ in range(5):
          await asyncio.gather(*(chat.complete(HELLO) for _ in range(16)))
        return shared, len(two.requests), len(one.requests)

  shared, dead, alive = asyncio.run(main())
  assert shared == (8, 8) and alive == 8 + 80 and dead < 40


def opened(models, model='', **more):
  """The model of a client at servers with these models; None stands for a server that is not there."""

  async def main():
    servers = [ChatServer(lambda *_: Act(), found) for found in models if found is not None]
    for server in servers:
      await server.__aenter__()
    urls = [server.url for server in servers] + ['http://127.0.0.1:9/v1'] * models.count(None)
    try:
      async with ChatClient(ChatSettings(tuple(urls), model, **more)) as chat:
        return chat.model, chat.gauges()['breakers_open']
    finally:
      for server in servers:
        await server.__aexit__()

  return asyncio.run(main())


def test_the_model_is_found_and_a_place_that_is_down_is_tried_later():
  assert opened([('qwen',), ('qwen',)]) == ('qwen', 0)
  assert opened([('qwen',), None]) == ('qwen', 1)
  assert opened([('a',), ('b',)], model='b') == ('b', 0)


@pytest.mark.parametrize(
  ('models', 'said'), [([None], 'cannot be used'), ([('a',), ('b',)], 'a, b'), ([()], 'no model')]
)
def test_what_cannot_work_is_told_at_the_start(models, said):
  with pytest.raises(ConfigError, match=said):
    opened(models)


@pytest.mark.parametrize(
  'values', [{'urls': ()}, {'urls': ('localhost:8000',)}, {'urls': ('http://a',), 'image_pixels': 0}]
)
def test_settings_that_cannot_work_are_config_errors(values):
  with pytest.raises(ConfigError):
    ChatSettings(**values)


def test_a_key_is_not_shown():
  assert 'secret' not in repr(ChatSettings(('http://a',), key='secret'))


def test_retry_after_is_read_in_both_forms():
  assert retry_after({'retry-after': '7'}) == 7.0
  date = {'date': 'Wed, 21 Oct 2026 07:28:00 GMT', 'retry-after': 'Wed, 21 Oct 2026 07:28:30 GMT'}
  assert retry_after(date) == 30.0
  assert retry_after({'retry-after': 'soon'}) is None and retry_after({}) is None


def test_the_digest_tells_requests_apart():
  image = images.from_array(np.zeros((4, 4, 3), np.uint8))
  with_image = ChatRequest((Message('user', (TextPart('hello'), ImagePart(image))),))
  requests = [HELLO, ChatRequest(HELLO.messages, 0.5), ChatRequest(HELLO.messages, seed=1), with_image]
  digests = {request.digest('m', 1) for request in requests} | {HELLO.digest('n', 1), HELLO.digest('m', 2)}
  assert len(digests) == 6 and HELLO.digest('m', 1) in digests


def test_who_turns_calls_away_is_not_asked_for_ever():
  """A place that answers 429 is never busy; listed first, it would be chosen before all others."""

  async def work():
    async with ChatServer(lambda *_: Act('status', 'slow down', 429)) as away:
      async with ChatServer(lambda *_: Act(text='yes')) as good:
        settings = ChatSettings((away.url, good.url), retry=Retry(3, 0.001, 0.01, 3.0))
        async with ChatClient(settings) as chat:
          replies = [await chat.complete(ChatRequest(())) for _ in range(5)]
        return [reply.text for reply in replies], len(away.requests)

  texts, refused = asyncio.run(work())
  assert texts == ['yes'] * 5 and refused <= 2
