import itertools
import random
import re

import pytest

from llmi_jax.core.document import ToolCall
from llmi_jax.core.rubric import Plots, criteria, numbers
from llmi_jax.core.toolspec import Parameter, ToolSpec
from llmi_jax.data.builtin import generate
from llmi_jax.data.demonstrations import BREAKAGES, SKELETONS, Flaws, demonstrate
from llmi_jax.text.grammar import parse

SPECS = (
  ToolSpec('search', '', (Parameter('query', 'string', ''),)),
  ToolSpec('code', '', (Parameter('code', 'string', ''),)),
  ToolSpec('edit', '', (Parameter('img_index', 'image', ''), Parameter('prompt', 'string', ''))),
  ToolSpec('diffusion', '', (Parameter('prompt', 'string', ''),)),
)
TASKS = generate.tasks('test')
STREAM = list(itertools.islice(generate.stream(5), 300))


def documents(tasks, flaws, seed=0):
  rng = random.Random(seed)
  for task in tasks:
    response = demonstrate(task, rng, flaws=flaws)
    yield task, response, parse(response, SPECS, len(task.input_images))


def only(**rates):
  return Flaws(**({'tool': 0.0, 'count': 0.0, 'tag': 0.0, 'prose': 0.0} | rates))


@pytest.mark.parametrize('tasks', [TASKS, STREAM], ids=['test', 'stream'])
def test_perfect_demonstrations_parse_and_use_exactly_the_required_tools(tasks):
  for task, response, document in documents(tasks, only()):
    assert not document.malformed, response
    assert tuple(sorted({call.tool for call in document.calls})) == task.required_tools
    wanted = {'none': 0, 'exactly': task.image_rule.count}.get(task.image_rule.kind, 1)
    assert len(document.calls) == wanted


def test_words_and_numbers_are_copied_with_their_leading_space_even_where_flawed():
  for task, response, _ in documents([*TASKS, *STREAM], Flaws()):
    for criterion in criteria(task.rubric):
      assert f' {criterion.what}' in task.question
      if isinstance(criterion, Plots):
        assert f' {numbers(criterion.values)}' in task.question
    for copied in re.findall(r'(?:photo|picture|chart|histogram) of( [^":.]+?)(?:"|:|\.)', response):
      assert copied in task.question


def test_chart_code_holds_the_numbers_as_the_request_writes_them():
  for task, response, _ in documents(TASKS, only()):
    for criterion in criteria(task.rubric):
      if isinstance(criterion, Plots):
        assert f'([ {numbers(criterion.values)}])' in response


def test_prose_is_short_and_every_tag_is_made_of_skeletons():
  for _, response, _ in documents(TASKS, only()):
    prose = re.sub(r'<imgen>.*?</imgen>', ' ', response)
    pictures = max(1, response.count('<imgen>'))
    assert len(prose.split()) <= 14 + 10 * pictures, prose
    tags = ''.join(re.findall(r'<imgen>.*?</imgen>', response))
    for skeleton in SKELETONS:
      tags = tags.replace(skeleton, '\0')
    assert not set(tags) & set('<>{}"'), tags


def test_skeletons_are_distinct_and_longest_first():
  assert len(set(SKELETONS)) == len(SKELETONS)
  assert [len(s) for s in SKELETONS] == sorted((len(s) for s in SKELETONS), reverse=True)


def test_same_rng_gives_the_same_demonstration():
  for task in TASKS[:20]:
    assert demonstrate(task, random.Random(3), flaws=Flaws()) == demonstrate(
      task, random.Random(3), flaws=Flaws()
    )


def test_tool_flaw_leaves_no_call_of_the_right_tool():
  for task, response, _ in documents(TASKS, only(tool=1.0)):
    sources = re.findall(r'"source": "(\w+)"', response)
    right = set(task.required_tools)
    if len(right) == 1:
      assert sources and not set(sources) & right


def test_count_flaw_breaks_the_number_of_tags():
  for task, _, document in documents(TASKS, only(count=1.0)):
    wanted = {'none': 0, 'exactly': task.image_rule.count}.get(task.image_rule.kind, 1)
    assert len(document.calls) != wanted


def test_tag_flaw_breaks_a_tag_and_every_breakage_does():
  for task, response, document in documents(TASKS, only(tag=1.0)):
    assert bool(document.malformed) == bool(task.required_tools), response
  tag = '<imgen>{"source": "search", "description": "a cat", "params": {"query": "photo of a cat"}}</imgen>'
  assert any(isinstance(s, ToolCall) for s in parse(tag, SPECS).segments)
  for breakage in BREAKAGES:
    assert parse(breakage(tag), SPECS).malformed, breakage.__name__


def test_prose_flaw_announces_or_never_names_the_subject():
  announced = vague = 0
  for task, response, _ in documents(TASKS, only(prose=1.0)):
    prose = re.sub(r'<imgen>.*?</imgen>', ' ', response)
    names = [c.what for c in criteria(task.rubric)]
    named = any(name in prose for name in names)
    announced += named
    vague += not named
    assert not named or re.search('image|picture', prose)
  assert min(announced, vague) > 0.3 * len(TASKS)


def test_flaws_occur_about_as_often_as_asked():
  rng = random.Random(0)
  tasks = [task for task in STREAM if task.category == ('search', 'one')] * 40
  responses = [demonstrate(task, rng, flaws=Flaws()) for task in tasks]
  right_tool = sum('"source": "search"' in r or '"source": "image"' in r for r in responses) / len(tasks)
  no_tag = sum('<imgen>' not in r for r in responses) / len(tasks)
  assert abs(no_tag - Flaws().count / 2) < 0.05
  assert abs(right_tool - (1 - no_tag) * (1 - Flaws().tool)) < 0.06


def test_a_habit_asks_the_same_wrong_tool_every_time():
  task = next(
    t for t in generate.tasks('train') if t.required_tools == ('search',) and t.image_rule.count == 1
  )
  always = Flaws(tool=1.0, count=0.0, tag=0.0, prose=0.0, habit=True)
  for seed in range(20):
    assert '"source": "code"' in demonstrate(task, random.Random(seed), flaws=always)
