"""A small run's folder, made from core records without a model, and a browser to look at reports with."""

import json
import pathlib
import shutil
import types

import numpy as np
import pytest

from llmi_jax import metrics
from llmi_jax.core.answer import Answer, Gap, Picture, Prose
from llmi_jax.core.document import Document, Malformed, Text, Thought, ToolCall
from llmi_jax.core.outcome import Attribution, Candidate, ToolOutcome
from llmi_jax.core.prompt import Prompt
from llmi_jax.core.reward import RewardParts, Term
from llmi_jax.core.task import ImagePart, ImageRule, Message, Task, TextPart
from llmi_jax.core.trajectory import Trajectory, Turn
from llmi_jax.core.verdict import Score, Verdict
from llmi_jax.data import rollouts
from llmi_jax.services import images

WEIGHTS = {'rule': 0.2, 'llm': 0.5, 'mllm': 0.3}
WORDS = {
  'search': 'The heron stands still for minutes before it strikes. It hunts at dawn.',
  'code': 'Rainfall rises through spring and peaks in June, as the plot of monthly sums shows.',
  'edit': 'In black and white the reeds come forward and the bird almost disappears among them.',
  'diffusion': 'Seen from above, the lake would look like this on a clear morning.',
}
PARAMS = {
  'search': {'query': 'grey heron fishing'},
  'code': {'code': "import matplotlib.pyplot as plt\nplt.plot([3, 5, 9, 4])\nplt.ylabel('mm')\nplt.show()"},
  'edit': {'img_index': 0, 'prompt': 'make it black and white'},
  'diffusion': {'prompt': 'aerial view of a lake at sunrise'},
}


def scene(seed, width=300, height=200, source='input'):
  """Hills under a sky, so that pictures differ and can be recognised."""
  rng = np.random.default_rng(seed)
  y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
  top, low = rng.uniform(90, 250, (2, 3))
  pixels = top * (1 - y[..., None]) + low * y[..., None]
  for depth in range(3):
    crest = 0.45 + 0.17 * depth + 0.08 * np.sin(x * rng.uniform(4, 9) + rng.uniform(0, 6))
    pixels[y > crest] = rng.uniform(20, 120, 3) + 20 * depth
  return images.from_array(pixels.astype(np.uint8), source=source)


class Answering:
  """Builds one sample's answer segment by segment."""

  def __init__(self, inputs=0):
    self.segments, self.parts, self.inputs = [], [], inputs
    self._at, self._position = 0, inputs

  def _add(self, kind, raw, *fields):
    segment = kind(raw, self._at, *fields)
    self._at += len(raw)
    self.segments.append(segment)
    return segment

  def thought(self, words):
    self._add(Thought, f'<think>{words}</think>')
    return self

  def text(self, words):
    self.parts.append(Prose(self._add(Text, words).raw))
    return self

  def _call(self, tool, description, params):
    raw = '<imgen>' + json.dumps({'source': tool, 'description': description, 'params': params}) + '</imgen>'
    call = self._add(ToolCall, raw, self._position, tool, description, params or PARAMS[tool])
    self._position += 1
    return call

  def picture(self, tool, image, description='A grey heron in shallow water', params=None, credit=None):
    call = self._call(tool, description, params or PARAMS[tool])
    outcome = ToolOutcome(
      'ok',
      'none',
      (Candidate(image, credit, 'a bird', 1.0),),
      tool=tool,
      provider='builtin',
      seed=7,
      executed=tuple(call.params.items()),
      started=100.0,
      ended=100.42,
    )
    self.parts.append(Picture(image, call.position, call, outcome))
    return self

  def lost(
    self, tool, status='failed', fault='policy', error='NameError: name pd is not defined', params=None
  ):
    call = self._call(tool, 'Monthly rainfall', params or PARAMS[tool])
    outcome = ToolOutcome(
      status, fault, tool=tool, provider='builtin', error=error, started=1, ended=1.2, attempts=3
    )
    self.parts.append(Gap(f'The {tool} tool gave no picture here.', call.position, call, outcome))
    return self

  def malformed(self, raw, reason='syntax'):
    tag = self._add(Malformed, raw, self._position, reason, 'The tag holds no object.')
    self._position += 1
    self.parts.append(Gap('A broken tag asked for a picture here.', tag.position, tag))
    return self

  def sample(self, task, step, sample=0, parts=(1.0, 0.8, 0.7), reward=..., verdicts=None, advantage=0.0):
    document = Document(tuple(self.segments), self.inputs)
    rule, llm, mllm = parts
    terms = RewardParts(
      Term('rule', rule, f'{len(self.parts)} parts'),
      Term('llm', llm, 'mean of two scores'),
      Term('mllm', mllm, 'mean of two scores' if mllm is not None else 'the judge was unreachable'),
      diagnostics=(Term('image_count_error', 0.0),),
    )
    if verdicts is None:
      verdicts = (
        Verdict(
          'llm',
          'scored',
          (Score('text', 4), Score('tags', 5)),
          justification='Clear and to the point.',
          model='offline',
          seconds=0.01,
        ),
        Verdict(
          'mllm',
          'scored',
          (Score('quality', 4), Score('relevance', 4)),
          justification='The image shows what the text says.',
          model='offline',
          seconds=0.02,
        ),
      )
    if reward is ...:
      reward = 0.2 * rule + 0.5 * llm + 0.3 * rule * mllm
    count = min(max(len(document.response) // 4, 1), 4_000)
    rng = np.random.default_rng(count)
    logp = -rng.exponential(0.4, count).astype(np.float32)
    turn = Turn(
      Prompt(np.arange(9), '<|im_start|>user\nWrite about herons.<|im_end|>'),
      rng.integers(0, 2000, count).astype(np.int32),
      np.ones(count, bool),
      logp,
      logp,
      'stop',
      document.response,
      document,
    )
    answer = Answer(task.id, tuple(self.parts), document, verdicts, terms, 'policy')
    timings = (('decode', 0.8), ('tools', 0.42), ('judge', 0.03))
    return Trajectory(task, sample, (turn,), answer, step, reward, advantage, timings)


def make_task(
  name, tools=('search',), image=None, rule=ImageRule('exactly', 1), split='train', question=None
):
  question = question or 'Tell a visitor how herons hunt, and show one at work.'
  content = (TextPart(question),) + ((ImagePart(image),) if image else ())
  return Task(name, (Message('user', content),), question, rule, tuple(sorted(tools)), split=split)


def write_metrics(workdir, steps):
  writer = metrics.Writer(workdir)
  rng = np.random.default_rng(0)
  for step in range(steps):
    t = step / max(steps - 1, 1)
    noise = lambda size: float(rng.normal(0, size))
    line = {
      'reward/mean': min(1, 0.32 + 0.45 * t**0.7 + noise(0.03)),
      'reward/rule': min(1, 0.5 + 0.45 * t + noise(0.03)),
      'reward/llm': min(1, 0.35 + 0.4 * t + noise(0.03)),
      'reward/mllm': min(1, 0.3 + 0.35 * t + noise(0.05)) if step % 9 else None,
      'rollout/tokens': 16000,
      'rollout/length_mean': 210 - 60 * t + noise(8),
      'loss/policy': noise(0.01),
      'rollout/malformed_rate': max(0, 0.3 * (1 - t) ** 2 + noise(0.01)),
      'rollout/truncated': 0.02,
      'rollout/zero_advantage': 0.1 + 0.3 * t + abs(noise(0.03)),
      'time/step': 2.6,
      'grad_norm': abs(0.6 + noise(0.2)),
      'time/prefill': 0.2,
      'time/decode': 1.0 + abs(noise(0.1)),
      'time/view': 0.01,
      'time/idle': 0.4 + abs(noise(0.05)),
      'time/tools': 0.5 + abs(noise(0.2)),
      'time/judge': 0.1,
      'time/update': 0.9 + abs(noise(0.05)),
    }
    if step % 7 == 3:
      line['unscorable/judge llm'] = 2.0
    for i, tool in enumerate(('search', 'diffusion', 'code', 'edit')):
      line[f'tools/{tool}/calls'] = max(0, round(14 - 3 * i + 6 * t * (i - 1) + noise(2)))
      line[f'tools/{tool}/success_rate'] = max(0, min(1, 0.4 + 0.12 * i + 0.4 * t + noise(0.05)))
    writer.write(step, line)


EVALUATION = (
  'reward',
  'rule',
  'llm',
  'mllm',
  'valid_tag_rate',
  'image_rule_rate',
  'tool_accuracy',
  'tool_success',
)


def write_run(workdir, steps=40, picture=scene, finished=True):
  """A run's folder as the trainer leaves it."""
  workdir = pathlib.Path(workdir)
  workdir.mkdir(parents=True, exist_ok=True)
  config = {
    'seed': 3,
    'policy': {'path': 'builtin:tiny'},
    'data': {'prompts': 8, 'samples': 8},
    'reward': WEIGHTS,
  }
  (workdir / 'config.json').write_text(json.dumps(config))
  write_metrics(workdir, steps)
  credit = Attribution('Grey heron at the pond', 'M. Example', 'CC BY 4.0', 'https://example.org/heron')
  for step in (0, steps):
    rows = []
    for i in range(7):
      tools = list(PARAMS)[i % 4 : i % 4 + 1 + i % 2] or ['code']
      task = make_task(f'birds/{i}', tools, picture(i) if 'edit' in tools else None, split='test')
      built = Answering(inputs=int('edit' in tools))
      if step:
        built.thought('One picture per claim; the request implies a photograph.')
        for tool in tools:
          built.text(WORDS[tool] + '\n\n').picture(
            tool, picture(50 + i, source=f'{tool}:{i}'), credit=credit if tool == 'search' else None
          )
          built.text('\n\n')
        rows.append(built.sample(task, step, parts=(1.0, 0.9 - 0.02 * i, 0.85)))
      else:
        built.text('A heron is a bird. ').malformed('<imgen>{search: heron}</imgen>').text(' It eats fish.')
        rows.append(built.sample(task, step, parts=(0.0, 0.3 + 0.08 * i, 0.0)))
    rollouts.write(workdir, 'eval', step, rows, WEIGHTS)
  for step in range(1, steps + 1, 4):
    rows = []
    for k in range(4):
      task = make_task(f'lakes/{step % 6}', ('code', 'search'), rule=ImageRule('at_least_one'))
      built = Answering().text('## The lake in spring\n\n' + WORDS['code'] + '\n\n')
      if k == 3:
        built.lost('code').text('\n\n' + WORDS['search'])
        rows.append(built.sample(task, step, k, (0.7, 0.5, 0.0), advantage=-1.2))
      elif k == 2 and step % 8 == 1:
        built.picture('search', picture(step), credit=credit)
        built.lost('diffusion', 'unavailable', 'environment', 'The service did not answer within 30 s.')
        missing = (Verdict('llm', 'missing', reason='The judge answered nonsense twice.'),)
        rows.append(built.sample(task, step, k, (1.0, None, None), None, missing))
      else:
        built.picture('code', picture(step + k)).text(
          '\n\n- snow melts in *April*\n- rain peaks in **June**\n'
        )
        rows.append(
          built.sample(task, step, k, (1.0, 0.6 + 0.1 * k, 0.2 + step / steps * 0.7), advantage=0.6)
        )
    rollouts.write(workdir, 'train', step, rows, WEIGHTS)
  if finished:
    before = dict(zip(EVALUATION, (0.327, 0.521, 0.344, 0.296, 0.712, 0.433, 0.375, 0.61)))
    after = dict(zip(EVALUATION, (0.784, 0.962, 0.741, 0.688, 0.993, 0.958, 0.871, 0.97)))
    counts = {'n_tasks': 100, 'n_samples': 400, 'n_unscorable': 2}
    metrics.Writer(workdir).summarize(
      {
        'eval_before': before | counts,
        'eval_after': after | counts,
        'steps': steps,
        'seconds': 391.4,
        'params': 2_731_008,
      }
    )
  return workdir


@pytest.fixture(scope='session')
def run_folder(tmp_path_factory):
  return write_run(tmp_path_factory.mktemp('runs') / 'herons')


@pytest.fixture(scope='session')
def make():
  """The builders above."""
  return types.SimpleNamespace(
    Answering=Answering, task=make_task, scene=scene, run=write_run, metrics=write_metrics, weights=WEIGHTS
  )


_FLAGS = (
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
)


@pytest.fixture(scope='module')
def browser():
  """Debian's Chromium, headless; closed with its module, since Playwright occupies the event loop."""
  playwright = pytest.importorskip('playwright.sync_api')
  program = shutil.which('chromium')
  if program is None:
    pytest.skip('chromium is not installed')
  with playwright.sync_playwright() as started:
    launched = started.chromium.launch(executable_path=program, args=list(_FLAGS))
    yield launched
    launched.close()


class Visit:
  """A page that is open, and everything it did that a report must not do."""

  def __init__(self, browser, path, javascript=True, width=1280, theme='light'):
    self.context = browser.new_context(
      viewport={'width': width, 'height': 900}, color_scheme=theme, java_script_enabled=javascript
    )
    self.requests, self.messages = [], []
    self.page = self.context.new_page()
    self.page.on('request', lambda r: self.requests.append(r.url))
    self.page.on('console', lambda m: self.messages.append(m.text))
    self.page.on('pageerror', lambda e: self.messages.append(str(e)))
    self.page.on('dialog', lambda d: (self.messages.append(f'dialog {d.message}'), d.dismiss()))
    self.address = pathlib.Path(path).resolve().as_uri()
    self.page.goto(self.address)

  @property
  def outside(self):
    """Requests beyond the page itself and what it embeds."""
    return [url for url in self.requests if url != self.address and not url.startswith('data:')]

  def __enter__(self):
    return self

  def __exit__(self, *problem):
    self.context.close()


@pytest.fixture
def visit(browser):
  """Opens a page as `with visit(path) as v`."""
  return lambda path, **options: Visit(browser, path, **options)
