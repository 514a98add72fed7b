"""Every provider that a config can name, made from the settings in `configs/tools.py`."""

import asyncio
import base64

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from configs import grpo_tiny, tools
from llmi_jax import painting, toolbox
from llmi_jax.core.errors import ConfigError
from llmi_jax.painter.network import Painter, Shape
from llmi_jax.rollout.device import Device
from llmi_jax.services import images
from llmi_jax.tools.registry import Context
from llmi_jax.weights import painter as weights
from tests.doubles.web import Act, WebServer, picture

GIVEN, MADE = picture(40, 40, 90), picture()
SMALL = Shape(4, side=16, patch=8, width=16, layers=1, heads=2)


@pytest.fixture(scope='module')
def painter_folder(tmp_path_factory):
  folder = tmp_path_factory.mktemp('painter')
  # The last projection starts at zero; here it must say something.
  keys = iter(jax.random.split(jax.random.key(1), 100))
  made = Painter(SMALL, jax.random.key(0))
  params = jax.tree.map(lambda leaf: leaf + 0.1 * jax.random.normal(next(keys), leaf.shape), made)
  weights.save(params, SMALL, {'red': 1, 'house': 2}, folder)
  return folder


def settings(*names, **chosen) -> ConfigDict:
  config = grpo_tiny.get_config().tools
  config.names = names
  for name, value in chosen.items():
    config[name] = value
  return config.lock()


def use(config, params, script=lambda ask: Act({}), name=None):
  """The outcome of one call of the first tool, in a registry made from the config."""

  async def main():
    device = Device()
    try:
      async with toolbox.registry(config, device) as registry:
        tool = registry.get(name) if name else next(iter(registry))
        assert tool
        dispatcher = toolbox.dispatcher(registry, config)
        return await dispatcher.call(tool, params, Context(5, images={0: GIVEN}), 'x')
    finally:
      device.close()

  return asyncio.run(main())


def remote(make, params, reply, paths, **more):
  """The same with a server; `make(url)` gives (tool, settings)."""
  asked = []

  async def main():
    async with WebServer(lambda ask: asked.append(ask) or reply(ask, server.url)) as server:
      name, chosen = make(server.url)
      config, device = settings(name, **{name: chosen}, **more), Device()
      try:
        async with toolbox.registry(config, device) as registry:
          (tool,) = registry
          dispatcher = toolbox.dispatcher(registry, config)
          return await dispatcher.call(tool, params, Context(5, images={0: GIVEN}), 'x')
      finally:
        device.close()

  outcome = asyncio.run(main())
  assert outcome.status == 'ok', outcome.error
  assert {ask.path for ask in asked} >= set(paths)
  return outcome, asked


def inline(ask, url):
  encoded = base64.b64encode(MADE.png).decode()
  return Act({'data': [{'b64_json': encoded}], 'status': 'success', 'images': [encoded]})


def test_diffusion_and_edit_behind_the_images_protocol(monkeypatch):
  monkeypatch.setenv('MY_KEY', 'sk-1')
  for name, params in (('diffusion', {'prompt': 'x'}), ('edit', {'img_index': 0, 'prompt': 'x'})):
    outcome, asked = remote(
      lambda url, name=name: (name, tools.image_api(url + '/v1', 'm-1', 'MY_KEY', size='8x8')),
      params,
      inline,
      [{'diffusion': '/v1/images/generations', 'edit': '/v1/images/edits'}[name]],
    )
    assert asked[0].headers['authorization'] == 'Bearer sk-1' and 'sk-1' not in outcome.model


def test_diffusion_and_edit_behind_qwen_servers():
  remote(lambda url: ('diffusion', tools.qwen_image(url)), {'prompt': 'x'}, inline, ['/health', '/generate/'])
  _, asked = remote(
    lambda url: ('edit', tools.qwen_image(url)),
    {'img_index': 0, 'prompt': 'x'},
    inline,
    ['/health', '/edit/'],
  )
  assert asked[-1].json['num_inference_steps'] == 50


def test_search_behind_a_keyed_provider(monkeypatch):
  monkeypatch.setenv('BRAVE_KEY', 'k-1')
  chosen = tools.keyed_search('brave', 'BRAVE_KEY')

  def reply(ask, url):
    if ask.path == '/cat.png':
      return Act(body=picture(410, 410).png)
    return Act({'results': [{'title': 'a cat', 'url': 'p', 'properties': {'url': f'{url}/cat.png'}}]})

  def make(url):
    chosen.urls, chosen.private = (url,), True
    return 'search', chosen

  outcome, asked = remote(make, {'query': 'cat'}, reply, ['/res/v1/images/search', '/cat.png'])
  assert outcome.provider == 'brave' and asked[0].headers['x-subscription-token'] == 'k-1'
  assert 'authorization' not in asked[0].headers


def test_code_on_a_remote_executor():
  def reply(ask, url):
    files = {
      'picture.png': base64.b64encode(MADE.png).decode(),
      'note.json': base64.b64encode(b'{}').decode(),
    }
    return Act({'status': 'Success', 'run_result': {'status': 'Finished'}, 'files': files})

  remote(lambda url: ('code', tools.sandboxfusion(url)), {'code': 'plt.plot([1])'}, reply, ['/run_code'])


def test_the_painter_paints_by_seed_between_other_work(painter_folder, monkeypatch):
  monkeypatch.setattr(painting, 'FOLDER', painter_folder)

  async def main():
    device = Device()
    try:
      paints = painting.Painting(device, painter_folder, batch=2)
      jobs = [paints.paint('a red house', seed) for seed in (1, 2, 3, 1, 2)]
      together = await asyncio.gather(*jobs)
      alone = await paints.paint('a red house', 3)
      return paints, together, alone
    finally:
      device.close()

  paints, together, alone = asyncio.run(main())
  assert paints.knows('RED') and not paints.knows('a zebra')
  assert np.array_equal(together[0], together[3]) and np.array_equal(together[1], together[4])
  assert np.array_equal(together[2], alone) and alone.shape == (16, 16, 3)
  assert (together[0] != together[1]).any()


def test_painting_goes_on_while_a_stream_decodes(painter_folder):
  async def main():
    device = Device()
    try:
      paints = painting.Painting(device, painter_folder)

      def decode():
        for step in range(2_000):
          yield step
          if done:
            return

      done: list[int] = []
      work = None
      async for step in device.stream(decode):
        work = work or asyncio.ensure_future(paints.paint('a house', 1))
        await asyncio.sleep(0.001)
        if work.done():
          done.append(step)
          break
      return done
    finally:
      device.close()

  assert asyncio.run(main())


def test_what_the_painter_does_not_know_is_the_policys_doing(painter_folder, monkeypatch):
  monkeypatch.setattr(painting.Painting.__init__, '__defaults__', (painter_folder, 1))
  config = settings('diffusion', diffusion=tools.painter())
  assert use(config, {'prompt': 'a red house'}).status == 'ok'
  outcome = use(config, {'prompt': 'a zebra'})
  assert (outcome.status, outcome.fault) == ('failed', 'policy') and 'zebra' in outcome.error


def test_a_tool_of_ones_own_is_named_by_its_path():
  outcome = use(settings('search', 'docs/own_tool/qr_code.py'), {'text': 'hello'}, name='qr_code')
  assert outcome.status == 'ok' and images.to_array(outcome.image).std() > 50


@pytest.mark.parametrize(
  ('names', 'chosen', 'words'),
  [
    (('serch',), {}, "'serch'"),
    (('search', 'search'), {}, 'Two tools'),
    (('search',), {'search': {'provider': 'altavista'}}, 'altavista'),
    (('search',), {'search': {'provider': 'brave'}}, 'needs a key'),
    (('search',), {'search': {'provider': 'brave', 'key_env': 'NO_SUCH_KEY_1'}}, 'NO_SUCH_KEY_1'),
    (('diffusion',), {'diffusion': {'provider': 'dalle'}}, 'dalle'),
    (('diffusion',), {'diffusion': {'provider': 'image_api'}}, 'no address'),
    (('diffusion',), {'diffusion': {'provider': 'image_api', 'urls': ('ftp://x',)}}, 'ftp'),
    (('diffusion',), {'diffusion': {'provider': 'image_api', 'urls': ('http://x',)}}, "'model'"),
    (
      ('diffusion',),
      {'diffusion': {'provider': 'image_api', 'urls': ('http://x',), 'wanted': {'model': 'm', 'sise': 1}}},
      'sise',
    ),
    (
      ('diffusion',),
      {'diffusion': {'provider': 'qwen_image', 'urls': ('http://127.0.0.1:9',)}},
      'cannot be used',
    ),
    (
      ('diffusion',),
      {'diffusion': {'provider': 'served', 'urls': ('http://127.0.0.1:9',)}},
      'cannot be used',
    ),
    (
      ('edit',),
      {'edit': {'provider': 'diffusers', 'wanted': {'path': '/no/such/folder'}}},
      'no diffusers pipeline',
    ),
    (('edit',), {'edit': {'limit': {'concurrency': 0}}}, 'concurrency'),
    (('edit',), {'edit': {'limit': {'conc': 2}}}, "'conc'"),
  ],
)
def test_settings_that_cannot_work_are_one_sentence(names, chosen, words):
  with pytest.raises(ConfigError, match=words):
    use(settings(*names, **{name: ConfigDict(value) for name, value in chosen.items()}), {})


def test_what_is_not_cached_is_not_called_in_a_replay(tmp_path):
  from llmi_jax.services.cache import Cache

  async def main():
    async with WebServer(lambda ask: inline(ask, '')) as server:
      device = Device()
      outcomes = []
      try:
        for replay in (True, False, True):
          config = settings(
            'diffusion', diffusion=tools.image_api(server.url, 'm'), replay=replay, retry={'attempts': 1}
          )
          async with toolbox.registry(config, device) as registry:
            (tool,) = registry
            cache = Cache(tmp_path, read_only=replay)
            dispatcher = toolbox.dispatcher(registry, config, cache=cache)
            outcomes.append(await dispatcher.call(tool, {'prompt': 'x'}, Context(), 'x'))
      finally:
        device.close()
      return outcomes, len(server.asks)

  outcomes, asked = asyncio.run(main())
  assert [o.status for o in outcomes] == ['unavailable', 'ok', 'ok'] and asked == 1
  assert outcomes[1] == outcomes[2] and 'replayed' in outcomes[0].error


@pytest.mark.slow
def test_the_shipped_painter_paints_what_it_never_saw():
  """Held-out captions: each painting is nearest to the drawing of its own caption, in most cases."""
  import random

  from experiments.painter import drawing, sheet
  from llmi_jax.data.builtin import scenes
  from llmi_jax.painter import flow, words

  loaded, rng = weights.load(painting.FOLDER), random.Random(1)
  assert (painting.FOLDER / weights.FILE).stat().st_size <= 4 << 20
  assert loaded.vocabulary == scenes.vocabulary()
  drawn = [scenes.draw(rng, held_out=True) for _ in range(40)]
  captions = words.encode([scenes.caption(scene) for scene in drawn], loaded.vocabulary)
  painted = flow.paint(loaded.params, loaded.shape, captions, np.arange(40, dtype=np.uint32))
  rules = np.stack([drawing.draw(scene, rng) for scene in drawn])
  assert sheet.found(np.asarray(painted), rules) >= 0.6
