"""Every remote provider against a server that speaks its protocol, through all that networks do to calls."""

import asyncio
import base64
import dataclasses
import json
import time
from collections.abc import Callable

import pytest

from llmi_jax.core.outcome import ToolOutcome
from llmi_jax.services import images
from llmi_jax.services.addresses import Rules
from llmi_jax.services.download import Downloader
from llmi_jax.services.faults import ServiceFault
from llmi_jax.services.http import Http
from llmi_jax.services.limits import Limit
from llmi_jax.services.retry import Retry
from llmi_jax.tools import image_api, qwen_image, remote_code, search_providers, served, web_search
from llmi_jax.tools.dispatch import Dispatcher
from llmi_jax.tools.image_api import ImageApi
from llmi_jax.tools.qwen_image import QwenImage
from llmi_jax.tools.registry import Context, Registry, Tool
from llmi_jax.tools.search import SPEC
from llmi_jax.tools.servers import Servers
from llmi_jax.tools.web_search import WebSearch
from tests.doubles.web import Act, Ask, WebServer, bomb, picture

GIVEN, MADE = picture(40, 40, 90), picture()
QUICK = Retry(3, base=0.01, cap=0.02)
SMALL = WebSearch(results=4, smallest=8, largest=5120, fetch_seconds=0.4)


@dataclasses.dataclass(frozen=True)
class Kind:
  """One provider.

  Attributes:
    make: its tool.
    good: its reply, given picture bytes.
    params: of a call.
    check: looks at the request that it made.
  """

  make: Callable[[Servers, Downloader], Tool]
  good: Callable[[str, bytes], Act]
  params: dict
  check: Callable[[Ask], bool]


def b64(data: bytes) -> str:
  return base64.b64encode(data).decode()


def searcher(name: str, **options):
  return lambda servers, downloader: web_search.web_search_tool(
    servers, downloader, search_providers.provider(name), SMALL, **options
  )


def hit_of_commons(url, _):
  extra = {'Artist': {'value': '<a href="x">A &amp; B</a>'}, 'LicenseShortName': {'value': 'CC BY 4.0'}}
  info = {'url': url, 'width': 900, 'height': 900, 'descriptionurl': 'http://page', 'extmetadata': extra}
  return Act({'query': {'pages': [{'title': 'File:A cat.jpg', 'index': 1, 'imageinfo': [info]}]}})


def hit_of_openverse(url, _):
  entry = {'title': 'A cat', 'url': url, 'creator': 'A & B', 'license': 'by', 'license_version': '4.0'}
  return Act({'results': [entry | {'foreign_landing_url': 'http://page', 'width': 900, 'height': 900}]})


def hit_of_serpapi(url, _):
  entry = {'title': 'A cat', 'original': url, 'source': 'A & B', 'link': 'http://page'}
  return Act({'images_results': [entry | {'original_width': 900, 'original_height': 900}]})


def hit_of_google(url, _):
  image = {'contextLink': 'http://page', 'width': 900, 'height': 900}
  return Act({'items': [{'title': 'A cat', 'link': url, 'displayLink': 'A & B', 'image': image}]})


def hit_of_brave(url, _):
  return Act(
    {'results': [{'title': 'A cat', 'url': 'http://page', 'source': 'A & B', 'properties': {'url': url}}]}
  )


def inline(_, data):
  return Act({'data': [{'b64_json': b64(data)}]})


def linked(url, _):
  return Act({'data': [{'url': url}]})


def qwen(_, data):
  return Act({'status': 'success', 'images': [b64(data)]})


def fusion(_, data):
  note = b64(json.dumps({'versions': 'python 3', 'error': ''}).encode())
  run = {'status': 'Finished', 'return_code': 0, 'stdout': 'hi', 'stderr': ''}
  files = {'picture.png': b64(data), 'note.json': note}
  return Act({'status': 'Success', 'message': '', 'run_result': run, 'files': files})


def form_has(ask: Ask) -> bool:
  return (
    GIVEN.png in ask.body and b'name="prompt"\r\n\r\nmake it blue' in ask.body and b'name="model"' in ask.body
  )


API = ImageApi('painter-1', size='64x64', seeded=True)
QUERY, PROMPT = {'query': 'a cat'}, {'prompt': 'a cat'}
EDIT = {'img_index': 0, 'prompt': 'make it blue'}
KINDS = {
  'commons': Kind(searcher('commons'), hit_of_commons, QUERY, lambda a: 'a cat' in a.query['gsrsearch']),
  'openverse': Kind(searcher('openverse'), hit_of_openverse, QUERY, lambda a: a.query['q'] == 'a cat'),
  'serpapi': Kind(searcher('serpapi', key='k'), hit_of_serpapi, QUERY, lambda a: a.query['api_key'] == 'k'),
  'google': Kind(
    searcher('google', key='k', engine='e'),
    hit_of_google,
    QUERY,
    lambda a: (a.query['key'], a.query['cx']) == ('k', 'e'),
  ),
  'brave': Kind(
    searcher('brave', key='k'), hit_of_brave, QUERY, lambda a: a.headers['x-subscription-token'] == 'k'
  ),
  'image_api': Kind(
    lambda s, d: image_api.image_tool(s, d, API),
    inline,
    PROMPT,
    lambda a: (
      (a.json['model'], a.json['prompt'], a.json['size'], a.json['seed'])
      == ('painter-1', 'a cat', '64x64', 7)
    ),
  ),
  'image_api_linked': Kind(
    lambda s, d: image_api.image_tool(s, d, API), linked, PROMPT, lambda a: a.path == '/images/generations'
  ),
  'image_api_edit': Kind(lambda s, d: image_api.image_edit_tool(s, d, API), inline, EDIT, form_has),
  'image_api_edit_inline': Kind(
    lambda s, d: image_api.image_edit_tool(s, d, dataclasses.replace(API, form='data_url')),
    linked,
    EDIT,
    lambda a: a.json['image'] == f'data:image/png;base64,{b64(GIVEN.png)}',
  ),
  'qwen_image': Kind(
    lambda s, d: qwen_image.qwen_image_tool(s, QwenImage(64, 64, 3)),
    qwen,
    PROMPT,
    lambda a: a.path == '/generate/' and a.json['num_inference_steps'] == 3 and a.json['width'] == 64,
  ),
  'qwen_image_edit': Kind(
    lambda s, d: qwen_image.qwen_image_edit_tool(s, QwenImage(steps=3)),
    qwen,
    EDIT,
    lambda a: a.path == '/edit/' and a.json['image_b64'] == b64(GIVEN.png),
  ),
  'sandboxfusion': Kind(
    lambda s, d: remote_code.remote_code_tool(s),
    fusion,
    {'code': 'plt.plot([1, 2])'},
    lambda a: (
      base64.b64decode(a.json['files']['snippet.py']) == b'plt.plot([1, 2])' and a.path == '/run_code'
    ),
  ),
}
LINKED = [name for name, kind in KINDS.items() if kind.good('u', b'').json != kind.good('v', b'').json]


def call(
  kind: Kind,
  script: Callable[[Ask, str], Act],
  data: bytes = MADE.png,
  *,
  rules: Rules | None = None,
  seconds: float = 1.0,
) -> tuple[ToolOutcome, WebServer, float]:
  """One call through the dispatcher; `script` gets the request and the address of a good picture."""

  async def main():
    def serve(ask: Ask) -> Act:
      if ask.path == '/picture' and ask.method == 'GET':
        return Act(body=data, type='image/png')
      return script(ask, f'{server.url}/picture')

    async with WebServer(serve) as server, Http() as http:
      async with Downloader(rules or Rules(private=True, ports=()), connections=8) as downloader:
        tool = kind.make(Servers(http, (server.url,), 'double'), downloader)
        name = tool.spec.name
        dispatcher = Dispatcher(Registry([tool]), limits={name: Limit(4, seconds)}, retry=QUICK)
        context = Context(7, images={0: GIVEN})
        start = time.monotonic()
        outcome = await dispatcher.call(tool, kind.params, context, f'{name}:0')
        return outcome, server, time.monotonic() - start

  return asyncio.run(main())


@pytest.fixture(params=KINDS)
def kind(request) -> Kind:
  return KINDS[request.param]


def test_success(kind):
  outcome, server, _ = call(kind, lambda ask, url: kind.good(url, MADE.png))
  assert outcome.status == 'ok' and outcome.image.sha256 == MADE.sha256 and outcome.attempts == 1
  assert outcome.provider and outcome.model and kind.check(server.asks[0])
  if kind.params is QUERY:
    credit = outcome.candidates[0].attribution
    assert (credit.title, credit.author, credit.page) == ('A cat', 'A & B', 'http://page')


@pytest.mark.parametrize(
  ('act', 'cause', 'tries'),
  [
    (Act({'error': {'message': 'no such size'}}, status=400), '400', 1),
    (Act({'error': {'message': 'who are you'}}, status=401), 'key', 1),
    (Act({}, status=429, headers=(('retry-after', '0'),)), 'busy', 3),
    (Act({'detail': 'out of memory'}, status=500), 'server', 3),
    (Act(body=b'<html>welcome</html>', type='text/html'), 'garbage', 3),
    (Act({'something': 'else'}), 'garbage', 3),
    (Act([]), 'garbage', 3),
    (Act({'data': [], 'results': [1], 'images': []}, kind='cut'), 'connection', 3),
    (Act(kind='die'), 'connection', 3),
    (Act(status=302, headers=(('location', 'http://127.0.0.1:9/'),)), '302', 1),
    (Act(status=307, headers=(('location', 'file:///etc/passwd'),)), '307', 1),
  ],
)
def test_faults_are_the_environments_and_tried_again_only_where_that_helps(kind, act, cause, tries):
  if cause == 'garbage' and act.json == {'something': 'else'} and kind.check is KINDS['google'].check:
    pytest.skip('without items, this provider found nothing')
  if act.json == {'something': 'else'} and kind.check is KINDS['commons'].check:
    pytest.skip('without a query, this provider found nothing')
  outcome, server, _ = call(kind, lambda ask, url: act)
  assert (outcome.status, outcome.fault) == ('unavailable', 'environment'), outcome.error
  assert cause in outcome.error and outcome.attempts == tries == len(server.asks)
  assert 'api_key=k' not in outcome.error


@pytest.mark.parametrize('mode', ['hang', 'drip'])
def test_whoever_hangs_or_drips_is_left_at_the_deadline(kind, mode):
  outcome, _, seconds = call(
    kind, lambda ask, url: dataclasses.replace(kind.good(url, MADE.png), kind=mode), seconds=0.25
  )
  assert outcome.fault == 'environment' and 'deadline' in outcome.error and seconds < 5


def test_a_busy_provider_is_asked_again_when_it_says():
  kind = KINDS['qwen_image']

  def script(ask, url):
    if ask.number == 1:
      return Act({}, status=429, headers=(('retry-after', '1'),))
    return kind.good(url, MADE.png)

  outcome, _, seconds = call(kind, script, seconds=10)
  assert outcome.status == 'ok' and outcome.attempts == 2 and seconds >= 1


@pytest.mark.parametrize('data', [bomb(), b'<svg xmlns="http://www.w3.org/2000/svg"/>', b'', MADE.png[:60]])
def test_what_is_no_picture_or_a_bomb_never_becomes_one(kind, data):
  outcome, _, _ = call(kind, lambda ask, url: kind.good(url, data), data, seconds=5)
  assert outcome.image is None and outcome.error
  own = kind.check is KINDS['sandboxfusion'].check  # there, the snippet wrote the file
  assert outcome.fault == ('policy' if own else 'environment')


@pytest.mark.parametrize('name', LINKED)
def test_no_picture_is_fetched_from_where_none_may_be(name):
  kind = KINDS[name]
  for target in (
    'http://127.0.0.1:9/x',
    'file:///etc/passwd',
    'http://[::1]/x',
    'http://2130706433/',
    'http://x:1@y/',
  ):
    outcome, server, _ = call(kind, lambda ask, url, to=target: kind.good(to, b''), rules=Rules())
    assert outcome.fault == 'environment' and outcome.image is None
    assert [ask.path for ask in server.asks if ask.path == '/picture'] == []


@pytest.mark.parametrize('name', LINKED)
@pytest.mark.parametrize('target', ['http://127.0.0.1:9/x', 'file:///etc/passwd'])
def test_every_redirect_is_checked_anew(name, target):
  kind = KINDS[name]
  reached = []

  def script(ask, url):
    if ask.path == '/away':
      return Act({}, status=302, headers=(('location', target),))
    reached.append(ask.path)
    return kind.good(url.replace('/picture', '/away'), b'')

  async def main():
    async with WebServer(lambda ask: script(ask, f'{server.url}/picture')) as server, Http() as http:
      # The server's own port alone: what leads elsewhere is stopped.
      async with Downloader(Rules(private=True, ports=(server.port,))) as downloader:
        tool = kind.make(Servers(http, (server.url,), 'double'), downloader)
        dispatcher = Dispatcher(Registry([tool]), default=Limit(4, 2.0), retry=QUICK)
        return await dispatcher.call(tool, kind.params, Context(images={0: GIVEN}), 'x')

  outcome = asyncio.run(main())
  assert outcome.fault == 'environment' and outcome.image is None and 'root:' not in outcome.error


def test_words_that_the_provider_forbids_are_the_policys_doing():
  kind = KINDS['image_api']
  act = Act(
    {'error': {'message': 'Rejected by the safety system.', 'code': 'moderation_blocked'}}, status=400
  )
  outcome, server, _ = call(kind, lambda ask, url: act)
  assert (outcome.status, outcome.fault, len(server.asks)) == ('invalid', 'policy', 1)


@pytest.mark.parametrize(
  ('name', 'data'),
  [
    ('commons', {'batchcomplete': True}),
    ('openverse', {'results': []}),
    ('serpapi', {'error': "Google hasn't returned any results for this query."}),
    ('google', {}),
    ('brave', {'results': []}),
  ],
)
def test_no_hit_is_the_policys_doing(name, data):
  outcome, _, _ = call(KINDS[name], lambda ask, url: Act(data))
  assert (outcome.status, outcome.fault) == ('failed', 'policy') and 'a cat' in outcome.error


def test_the_first_good_picture_in_rank_order_wins_even_where_a_later_one_is_quicker():
  pictures = {'/slow': picture(shade=10), '/quick': picture(shade=250), '/tiny': picture(4, 4)}

  def script(ask: Ask) -> Act:
    if ask.path == '/v1/images/':
      paths = ('/broken', '/tiny', '/hang', '/slow', '/quick')
      return Act({'results': [{'url': server.url + path, 'title': path} for path in paths]})
    if ask.path == '/hang':
      return Act(kind='hang')
    if ask.path == '/broken':
      return Act(body=b'oops', type='image/png')
    return Act(body=pictures[ask.path].png, seconds=0.2 if ask.path == '/slow' else 0.0)

  async def main():
    nonlocal server
    async with WebServer(script) as server, Http() as http:
      async with Downloader(Rules(private=True, ports=())) as downloader:
        wanted = WebSearch(results=5, smallest=8, fetch_seconds=0.8)
        tool = web_search.web_search_tool(
          Servers(http, (server.url,), 'double'), downloader, search_providers.provider('openverse'), wanted
        )
        start = time.monotonic()
        one = await tool.call({'query': 'x'}, Context(deadline=time.monotonic() + 5))
        two = await tool.call({'query': 'x'}, Context(deadline=time.monotonic() + 5, candidates=2))
        return one, two, time.monotonic() - start

  server: WebServer = WebServer(script)
  one, two, seconds = asyncio.run(main())
  assert [c.attribution.title for c in one.candidates] == ['/slow']
  assert [c.attribution.title for c in two.candidates] == ['/slow', '/quick']
  assert one.image.sha256 == pictures['/slow'].sha256 and seconds < 4


def test_pictures_outside_the_size_limits_are_passed_over():
  sizes = [(399, 399), (5121, 5121), (400, 400)]

  def script(ask: Ask, url: str) -> Act:
    results = [{'url': url, 'title': str(w), 'width': w, 'height': h} for w, h in sizes]
    return Act({'results': results})

  kind = dataclasses.replace(
    KINDS['openverse'],
    make=lambda s, d: web_search.web_search_tool(s, d, search_providers.provider('openverse'), WebSearch()),
  )
  outcome, server, _ = call(kind, script, picture(400, 400).png, seconds=5)
  assert outcome.candidates[0].attribution.title == '400'
  assert sum(ask.path == '/picture' for ask in server.asks) == 1
  outcome, _, _ = call(kind, script, picture(300, 300).png, seconds=5)
  assert outcome.fault == 'environment'  # it had announced more


def test_an_unhealthy_server_is_left_alone_and_the_others_share_the_load():
  async def main():
    good = [WebServer(lambda ask: dataclasses.replace(qwen('', MADE.png), seconds=0.05)) for _ in range(2)]
    async with good[0], good[1], WebServer(lambda ask: Act({}, status=500)) as bad, Http() as http:
      servers = Servers(http, (good[0].url, bad.url, good[1].url), 'double')
      await servers.check_health(qwen_image.HEALTH)
      tool = qwen_image.qwen_image_tool(servers, QwenImage())
      dispatcher = Dispatcher(Registry([tool]), limits={'diffusion': Limit(8, 5.0)}, retry=QUICK)
      calls = (dispatcher.call(tool, {'prompt': str(i)}, Context(), 'x') for i in range(16))
      outcomes = await asyncio.gather(*calls)
      return outcomes, [len(server.asks) - 1 for server in (*good, bad)], dispatcher.gauges()

  outcomes, asked, gauges = asyncio.run(main())
  assert all(o.status == 'ok' for o in outcomes) and asked == [8, 8, 0]
  assert gauges['calls/diffusion/breakers_open'] == 1 and gauges['calls/diffusion/retries'] == 0


def test_a_provider_that_keeps_failing_is_no_longer_asked():
  async def main():
    async with WebServer(lambda ask: Act({}, status=500)) as server, Http() as http:
      tool = qwen_image.qwen_image_tool(Servers(http, (server.url,), 'double'), QwenImage())
      dispatcher = Dispatcher(Registry([tool]), limits={'diffusion': Limit(1, 0.5)}, retry=Retry(1))
      for i in range(20):
        last = await dispatcher.call(tool, {'prompt': str(i)}, Context(), 'x')
      return last, len(server.asks)

  last, asked = asyncio.run(main())
  assert asked == 12 and 'left alone' in last.error and last.fault == 'environment'


def test_a_storm_of_cancelled_calls_leaves_the_pool_alive():
  async def main():
    async with WebServer(
      lambda ask: Act(kind='hang') if ask.json['prompt'] == 'x' else qwen('', MADE.png)
    ) as server:
      async with Http(4) as http:
        tool = qwen_image.qwen_image_tool(Servers(http, (server.url,), 'double'), QwenImage())
        for _ in range(30):
          calls = [
            asyncio.ensure_future(
              tool.call({'prompt': 'x'}, Context(variant=i, deadline=time.monotonic() + 9))
            )
            for i in range(8)
          ]
          await asyncio.sleep(0.01)
          for one in calls:
            one.cancel()
          await asyncio.gather(*calls, return_exceptions=True)
        return await tool.call({'prompt': 'y'}, Context(deadline=time.monotonic() + 5))

  assert asyncio.run(main()).status == 'ok'


def test_when_one_of_several_pictures_fails_the_others_are_not_waited_for():
  def script(ask):
    return Act({}, status=500) if ask.number == 2 else Act(kind='hang')

  async def main():
    async with WebServer(script) as server, Http() as http:
      tool = qwen_image.qwen_image_tool(Servers(http, (server.url,), 'double'), QwenImage())
      with pytest.raises(ServiceFault, match='500'):
        await tool.call({'prompt': 'x'}, Context(candidates=3, deadline=time.monotonic() + 30))
      return len(asyncio.all_tasks()) - len(server._work) - 1

  assert asyncio.run(main()) == 0


def test_code_that_fails_remotely_is_told_apart_from_a_server_that_does():
  def reply(run, files=None, status='Failed'):
    return Act({'status': status, 'message': 'm', 'run_result': run, 'files': files or {}})

  kind = KINDS['sandboxfusion']
  note = {'note.json': b64(json.dumps({'error': 'ZeroDivisionError: division by zero'}).encode())}
  acts = {
    'ZeroDivisionError': reply({'status': 'Finished', 'return_code': 0}, note),
    'stopped after': reply({'status': 'TimeLimitExceeded'}),
    'Killed': reply({'status': 'Error', 'return_code': -9, 'stderr': 'x\nKilled\n'}),
    'spoilt': reply({'status': 'Finished'}, {'note.json': b64(b'nonsense')}),
  }
  for words, act in acts.items():
    outcome, _, _ = call(kind, lambda ask, url, said=act: said)
    assert (outcome.status, outcome.fault) == ('failed', 'policy') and words in outcome.error
  outcome, _, _ = call(kind, lambda ask, url: reply(None, status='SandboxError'))
  assert outcome.fault == 'environment'


def test_specs_are_those_of_the_local_tools():
  assert served.offer(Tool(SPEC, lambda p, c: None))['spec']['name'] == 'search'  # type: ignore[arg-type]
  assert images.decode(MADE.png).sha256 == MADE.sha256
