"""The released reward on cases worked by hand from its published description; the paper's beside it."""

import numpy as np
import pytest

from llmi_jax.core.answer import Answer, Gap, Prose
from llmi_jax.core.document import ToolCall
from llmi_jax.core.errors import ConfigError
from llmi_jax.core.outcome import ToolOutcome
from llmi_jax.core.task import ImageRule, Task
from llmi_jax.core.verdict import Score, Verdict
from llmi_jax.rewards.parts import reward_parts
from llmi_jax.rewards.presets import PRESETS, Preset
from llmi_jax.rl.gate import Weights, gated_reward

NONE, FREE, SOME = -1, 0, 99
FULL = (5, 5)
SEEN = (5, 5, 5)


def verdicts(llm, mllm):
  """Scores by judge; None stands for a verdict that was lost."""
  made = []
  for judge, names, values in (
    ('llm', ('text', 'tag'), llm),
    ('mllm', ('image_quality', 'task_relevance', 'text_image_relevance'), mllm),
  ):
    if values is None:
      made.append(Verdict(judge, 'missing', reason='server: 500'))
    elif values:
      made.append(Verdict(judge, 'scored', tuple(map(Score, names, map(float, values)))))
  return tuple(made)


def reward(preset, answer_with, rule, tools, llm, mllm, *, lost=0, failed=0, text='Words.'):
  task = Task('t', (), 'q', ImageRule.from_image_num(rule), required_tools=('search',))
  pictures = answer_with(*tools).parts
  gone = ToolOutcome('unavailable', 'environment', tool='search', error='down')
  bad = ToolOutcome('failed', 'policy', tool='search', error='nothing found')
  gaps = [
    Gap('x', n, ToolCall('', 0, n, 'search', '', {}), o) for n, o in enumerate([gone] * lost + [bad] * failed)
  ]
  answer = Answer('t', (Prose(text), *pictures, *gaps), verdicts=verdicts(llm, mllm))
  chosen = PRESETS[preset] if isinstance(preset, str) else preset
  parts = reward_parts(task, answer, chosen.form, tuple(chosen.extra))
  number = lambda term: np.nan if term.value is None else term.value
  total = gated_reward(
    *(number(getattr(parts, name)) for name in ('rule', 'llm', 'mllm')),
    Weights(chosen.rule, chosen.llm, chosen.mllm),
    chosen.gate,
    [(chosen.extra[term.name], number(term)) for term in parts.extra],
  )
  return None if np.isnan(total) else float(total)


# (rule, pictures, llm, mllm, more) → released total, paper total; None is unscorable.
# total = .2·N + .3·N·M + .5·L; L = ((1.4·text + .6·tag)/2 − 1)/4; M = (mean − 1)/4.
CASES = {
  'exactly 2, 2 made': (2, 2, FULL, SEEN, {}, 1.0, 1.0),
  'exactly 2, 1 made: N = 1/2': (2, 1, FULL, SEEN, {}, 0.2 * 0.5 + 0.3 * 0.5 + 0.5, 0.75),
  'exactly 2, 3 made: N = .7': (2, 3, FULL, SEEN, {}, 0.14 + 0.21 + 0.5, 0.85),
  'exactly 1, 5 made: N = 0': (1, 5, FULL, SEEN, {}, 0.5, 0.5),
  'exactly 2, none made: N = 0': (2, 0, FULL, (), {}, 0.5, 0.5),
  'none wanted, none made': (NONE, 0, FULL, (), {}, 0.2 + 0.3 + 0.5, 1.0),
  'none wanted, 1 made': (NONE, 1, FULL, SEEN, {}, 0.5, 0.5),
  'free, none made: full visual marks': (FREE, 0, FULL, (), {}, 0.2 + 0.3 + 0.5, 0.2 + 0.5),
  'free, 2 made': (FREE, 2, FULL, (4, 3, 2), {}, 0.2 + 0.3 * 0.5 + 0.5, 0.85),
  'at least one, 3 made': (SOME, 3, FULL, (3, 3, 3), {}, 0.2 + 0.15 + 0.5, 0.85),
  'at least one, none made: N = 0': (SOME, 0, FULL, (), {}, 0.5, 0.5),
  'at least one, 11 made: M = 0': (SOME, 11, FULL, SEEN, {}, 0.2 + 0.5, 1.0),
  'middling scores': (1, 1, (4, 2), (2, 4, 3), {}, 0.2 + 0.3 * 0.5 + 0.5 * (3.4 - 1) / 4, 0.65),
  'lowest scores': (1, 1, (1, 1), (1, 1, 1), {}, 0.2, 0.2),
  'a failed tool is one picture less': (2, 1, FULL, SEEN, {'failed': 1}, 0.75, 0.75),
  'a lost tool': (2, 1, FULL, SEEN, {'lost': 1}, 0.75, None),
  'a lost text judge': (1, 1, None, SEEN, {}, 0.2 + 0.3, None),
  'a lost picture judge': (1, 1, FULL, None, {}, 0.2 + 0.5, None),
  'both judges lost': (1, 1, None, None, {}, 0.2, None),
  'a lost picture judge that is not needed': (2, 0, FULL, None, {}, 0.5, 0.5),
  'a lost picture judge behind a shut gate': (NONE, 1, FULL, None, {}, 0.5, 0.5),
  'no words: text counts 1': (1, 1, FULL, SEEN, {'text': ' '}, 0.2 + 0.3 + 0.5 * (0.6 * 4 / 8), 1.0),
}


@pytest.mark.parametrize('name', CASES)
def test_the_released_reward_and_the_papers(answer_with, name):
  rule, pictures, llm, mllm, more, released, paper = CASES[name]
  case = (answer_with, rule, ['search'] * pictures, llm, mllm)
  assert reward('released', *case, **more) == pytest.approx(released)
  found = reward('paper', *case, **more)
  assert found is None if paper is None else found == pytest.approx(paper)


def test_the_two_differ_where_they_should_and_only_there():
  differ = {name for name, case in CASES.items() if case[-2] != pytest.approx(case[-1])}
  assert differ == {
    'free, none made: full visual marks',
    'at least one, 11 made: M = 0',
    'a lost tool',
    'a lost text judge',
    'a lost picture judge',
    'both judges lost',
    'no words: text counts 1',
  }


def test_gates_and_weights_are_free(answer_with):
  case = (answer_with, 2, ['search'], FULL, SEEN)
  assert reward(Preset(gate='all'), *case) == pytest.approx(0.1 + 0.25 + 0.15)
  assert reward(Preset(gate='none'), *case) == pytest.approx(0.1 + 0.5 + 0.3)
  assert reward(Preset(1.0, 0.0, 0.0), *case) == pytest.approx(0.5)
  assert reward(Preset(1.0, 0.0, 0.0), answer_with, 2, ['search'], None, None) == pytest.approx(0.5)


def test_further_terms_have_weights_of_their_own(answer_with):
  preset = Preset(0.0, 0.0, 0.0, extra={'r_tool': 0.5, 'hygiene': 0.3})
  case = (answer_with, 1, ['search'], FULL, SEEN)
  assert reward(preset, *case) == pytest.approx(0.8)
  assert reward(preset, *case, text='Here is an image of it.') == pytest.approx(0.5 + 0.3 * 2 / 3)
  assert reward(preset, *case, lost=1) is None
  with pytest.raises(ConfigError, match="no term 'r_tol'"):
    Preset(extra={'r_tol': 1.0})
  with pytest.raises(ConfigError, match='gate'):
    Preset(gate='half')
