import dataclasses

import pytest

from llmi_jax.core.answer import Answer, Gap, Prose
from llmi_jax.core.document import ToolCall
from llmi_jax.core.outcome import ToolOutcome
from llmi_jax.core.task import ImageRule, Task
from llmi_jax.core.verdict import Score, Verdict
from llmi_jax.rewards.parts import reward_parts
from llmi_jax.rewards.presets import Form


def task(number=1):
  return Task('t', (), 'q', ImageRule.from_image_num(number), required_tools=('search',))


def llm(text=5.0, tag=5.0, vote=0):
  return Verdict('llm', 'scored', (Score('text', text), Score('tag', tag)), vote=vote)


def mllm(quality=5.0, relevance=5.0, beside=5.0):
  names = ('image_quality', 'task_relevance', 'text_image_relevance')
  return Verdict('mllm', 'scored', tuple(map(Score, names, (quality, relevance, beside))))


def test_l_weighs_text_and_tag_and_m_is_the_plain_mean(answer_with):
  parts = reward_parts(task(), answer_with('search', verdicts=(llm(5, 1), mllm(5, 3, 1))))
  assert parts.rule.value == 1
  assert parts.llm.value == pytest.approx(((1.4 * 5 + 0.6 * 1) / 2 - 1) / 4)
  assert parts.mllm.value == pytest.approx((3 - 1) / 4)
  other = reward_parts(task(), answer_with('search', verdicts=(llm(5, 1), mllm())), Form(text=1.5, tag=0.5))
  assert other.llm.value == pytest.approx(0.75)


def test_of_votes_the_median_of_each_score_counts(answer_with):
  votes = (llm(5, 1), llm(1, 2, vote=1), llm(4, 5, vote=2))
  parts = reward_parts(task(), answer_with('search', verdicts=(*votes, mllm())))
  assert parts.llm.value == pytest.approx(((1.4 * 4 + 0.6 * 2) / 2 - 1) / 4)
  assert 'median of 3 votes' in parts.llm.note


@pytest.mark.parametrize(('scored', 'value'), [(3, 1.0), (2, 1.0), (1, None), (0, None)])
def test_most_of_the_votes_must_be_there(answer_with, scored, value):
  lost = Verdict('llm', 'missing', reason='deadline: too late')
  votes = (*[llm()] * scored, *[lost] * (3 - scored))
  parts = reward_parts(task(), answer_with('search', verdicts=(*votes, mllm())))
  assert parts.llm.value == value


@pytest.mark.parametrize('gone', [(), (Verdict('llm', 'missing', reason='no reply after 3 tries'),)])
def test_a_missing_verdict_leaves_its_part_none_and_says_why(answer_with, gone):
  parts = reward_parts(task(), answer_with('search', verdicts=(*gone, mllm())))
  assert parts.llm.value is None
  assert ('no reply after 3 tries' if gone else 'not asked') in parts.llm.note
  assert parts.rule.value == parts.mllm.value == 1


def test_a_verdict_without_a_needed_score_leaves_its_part_none(answer_with):
  short = Verdict('llm', 'scored', (Score('text', 5),))
  parts = reward_parts(task(), answer_with('search', verdicts=(short, mllm())))
  assert parts.llm.value is None and "'tag'" in parts.llm.note


def test_a_call_lost_to_the_environment_leaves_rule_and_visual_part_none(answer_with):
  lost = ToolOutcome('unavailable', 'environment', tool='search', error='Quota used up.')
  answer = answer_with('search', verdicts=(llm(), mllm()))
  parts = reward_parts(task(), dataclasses.replace(answer, parts=(*answer.parts, Gap('x', 1, None, lost))))
  assert parts.rule.value is parts.mllm.value is None
  assert 'Quota used up.' in parts.rule.note
  assert parts.llm.value == 1


def test_a_call_lost_by_the_policy_is_data():
  failed = ToolOutcome('failed', 'policy', tool='search', error='No photograph matches.')
  answer = Answer('t', (Gap('x', 0, ToolCall('', 0, 0, 'search', '', {}), failed),), verdicts=(llm(),))
  parts = reward_parts(task(), answer)
  assert (parts.rule.value, parts.mllm.value) == (0, 0)


@pytest.mark.parametrize(('number', 'paper', 'released'), [(-1, 1, 1), (0, 0, 1), (99, 0, 1), (1, 0, 1)])
def test_without_a_picture_the_two_forms_differ(number, paper, released):
  answer = Answer('t', (Prose('Words.'),), verdicts=(llm(), Verdict('mllm', 'not_applicable', reason='none')))
  assert reward_parts(task(number), answer, Form('paper')).mllm.value == paper
  assert reward_parts(task(number), answer, Form('released')).mllm.value == released


def test_more_than_ten_pictures_are_worth_nothing_in_the_released_form_only(answer_with):
  answer = answer_with(*['search'] * 11, verdicts=(llm(), mllm()))
  assert reward_parts(task(99), answer, Form('released')).mllm.value == 0
  assert reward_parts(task(99), answer, Form('paper')).mllm.value == 1


def test_the_words_that_stand_for_a_picture_are_not_paid():
  answer = Answer('t', (Prose('<image> <image>'),), verdicts=(llm(),))
  parts = reward_parts(task(2), answer)
  assert (parts.rule.value, parts.mllm.value) == (0, 0)


def test_diagnostics_are_named_and_not_applicable_ones_are_none():
  values = {term.name: term.value for term in reward_parts(task(-1), Answer('t', ())).diagnostics}
  assert values == {
    'valid_tag_rate': None,
    'tool_success': None,
    'tool_accuracy': 0.0,
    'r_tool': 0.0,
    'hygiene': pytest.approx(2 / 3),
  }
