import asyncio
import hashlib

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from llmi_jax.core import wording
from llmi_jax.core.answer import Answer, Gap, Picture, Prose
from llmi_jax.core.document import Malformed, ToolCall
from llmi_jax.core.image import Image
from llmi_jax.core.outcome import Attribution, Candidate, ToolOutcome
from llmi_jax.core.task import ImageRule, Task
from llmi_jax.judges.offline import OfflineText, OfflineVisual
from llmi_jax.services import images

BROKEN = b'no picture at all'
PICTURES = st.sampled_from(
  [
    images.from_array(np.zeros((1, 1, 3), np.uint8)),
    images.from_array(np.arange(70 * 70 * 3, dtype=np.uint8).reshape(70, 70, 3)),
    Image(hashlib.sha256(BROKEN).hexdigest(), BROKEN, 100, 100),
  ]
)
VALUES = st.one_of(st.text(max_size=30), st.integers(), st.just('plt.plot([3, 5, 8e99, -1.5, 1_0])'))
CALLS = st.builds(
  ToolCall,
  st.just(''),
  st.just(0),
  st.integers(0, 9),
  st.sampled_from(['search', 'code', 'edit', 'diffusion', '']),
  st.text(max_size=30),
  st.dictionaries(st.sampled_from(['query', 'code', 'prompt', 'img_index', 'x']), VALUES),
)
BAD = st.builds(Malformed, st.text(), st.just(0), st.none(), st.just('syntax'), st.text())
CREDITS = st.one_of(st.none(), st.builds(Attribution, st.text(max_size=9)))
OK = st.builds(
  lambda image, credit, caption: ToolOutcome(
    'ok', 'none', (Candidate(image, credit, caption),), tool='search'
  ),
  PICTURES,
  CREDITS,
  st.text(max_size=30),
)
PARTS = st.one_of(
  st.builds(Prose, st.text()),
  st.builds(Picture, PICTURES, st.integers(0, 9), st.one_of(st.none(), CALLS), st.one_of(st.none(), OK)),
  st.builds(Gap, st.text(), st.one_of(st.none(), st.integers(0, 9)), st.one_of(st.none(), CALLS, BAD)),
)
RUBRICS = st.lists(
  st.one_of(
    st.text(max_size=20),
    st.sampled_from(
      [
        'mentions: of the',
        'shows: a cat',
        'plots: 3, 5, 8 as line of x',
        'edits: blur it on 0 of a cat',
        'shows: ?',
      ]
    ),
  ),
  max_size=5,
).map(tuple)
TASKS = st.builds(
  lambda question, number, tools, rubric: Task(
    't', (), question, ImageRule.from_image_num(number), required_tools=tools, rubric=rubric
  ),
  st.text(max_size=60),
  st.sampled_from([-1, 0, 1, 2, 99]),
  st.sampled_from([(), ('search',), ('code', 'edit')]),
  RUBRICS,
)


@settings(max_examples=150, deadline=None)
@given(TASKS, st.lists(PARTS, max_size=8).map(tuple))
def test_any_answer_gets_a_verdict(task, parts):
  answer = Answer('t', parts)
  text = asyncio.run(OfflineText().judge(task, answer))
  visual = asyncio.run(OfflineVisual().judge(task, answer))
  assert text.status == 'scored'
  assert visual.status == ('scored' if answer.pictures else 'not_applicable')


def test_a_huge_answer_is_judged_as_fast_as_a_long_one():
  many = tuple(Prose('here is an image [1, 2, ' * 20_000) for _ in range(20))
  call = ToolCall('', 0, 0, 'code', 'x', {'code': '[(' * 200_000 + '1, ' * 200_000})
  gaps = tuple(Gap('x', i, call) for i in range(3_000))
  task = Task('t', (), 'x', ImageRule('free'), rubric=('plots: 1, 2, 3 as line of x',))
  verdict = asyncio.run(OfflineText().judge(task, Answer('t', (*many, *gaps))))
  assert verdict.status == 'scored'


@given(st.text(max_size=200))
def test_recall_is_a_share(text):
  assert 0 <= wording.recall(text, 'a tabby cat') <= 1
  assert wording.recall('a tabby cat', f'{text} tabby cats') == 1
