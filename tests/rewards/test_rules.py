import pytest

from llmi_jax.core.answer import Answer, Gap
from llmi_jax.core.document import Malformed, ToolCall
from llmi_jax.core.outcome import ToolOutcome
from llmi_jax.core.task import ImageRule, Task
from llmi_jax.rewards import rules


def task(*required):
  return Task('t', (), 'q', ImageRule('free'), required_tools=required)


def gap(tool, status='failed'):
  outcome = ToolOutcome(status, 'policy', tool=tool)
  return Gap('no picture', 0, ToolCall('', 0, 0, tool, '', {}), outcome)


@pytest.mark.parametrize(
  ('number', 'scores'),
  [
    (-1, [1, 0, 0, 0]),
    (0, [1, 1, 1, 1]),
    (99, [0, 1, 1, 1]),
    (2, [0, 0.5, 1, 0.7]),
    (3, [0, 1 / 3, 2 / 3, 1]),
  ],
)
def test_training_form_of_the_image_rule(number, scores):
  rule = ImageRule.from_image_num(number)
  assert [rules.image_rule_score(rule, count) for count in range(4)] == pytest.approx(scores)


def test_far_too_many_pictures_are_worth_nothing_not_less():
  assert rules.image_rule_score(ImageRule('exactly', 1), 5) == 0
  assert rules.image_rule_score(ImageRule('exactly', 1), 4) == pytest.approx(0.1)


def test_exact_form_is_all_or_nothing():
  assert [rules.image_rule_score(ImageRule('exactly', 2), c, exact=True) for c in range(4)] == [0, 0, 1, 0]
  assert [rules.image_rule_score(ImageRule('at_least_one'), c, exact=True) for c in range(3)] == [0, 1, 1]


def test_unclosed_tags_count_as_tags_and_no_tag_is_not_applicable():
  unclosed = Gap('x', None, Malformed('<imgen>{', 0, None, 'unclosed', 'never closed'))
  assert rules.valid_tag_rate(Answer('t', ())) is None
  assert rules.valid_tag_rate(Answer('t', (gap('search'), unclosed))) == 0.5
  assert rules.tool_success(Answer('t', (unclosed,))) is None


def test_success_is_over_attempts_and_accuracy_over_the_set(answer_with):
  both = answer_with('search', 'code')
  assert rules.tool_success(both) == 1
  assert rules.tool_accuracy(task('code', 'search'), both) == 1
  assert rules.tool_accuracy(task('search'), both) == 0
  assert rules.tool_accuracy(task(), Answer('t', ())) == 1
  half = Answer('t', (*both.parts, gap('edit')))
  assert rules.tool_success(half) == pytest.approx(2 / 3)
  assert rules.tool_accuracy(task('code', 'search'), half) == 1


def test_r_tool_weighs_error_prone_tools_and_pays_attempts_half(answer_with):
  assert rules.r_tool(task('code', 'search'), answer_with('code', 'search')) == 1
  assert rules.r_tool(task('code', 'search'), answer_with('code')) == pytest.approx(0.4 / 0.6)
  assert rules.r_tool(task('edit'), Answer('t', (gap('edit'),))) == 0.5
  assert rules.r_tool(task(), answer_with('code')) == 0
