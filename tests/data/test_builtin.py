import hashlib
import itertools
import random
import re

import pytest

from llmi_jax import rebuild
from llmi_jax.core.document import ToolCall
from llmi_jax.core.rubric import Mentions, Paints, Plots, Shows, criteria
from llmi_jax.data import demonstrations
from llmi_jax.data.builtin import generate, scenes
from llmi_jax.data.builtin import words as vocabulary
from llmi_jax.data.builtin.topics import SPLITS, TOPICS, content_words
from llmi_jax.painter import words
from llmi_jax.text import grammar

TASKS = '5de7103ecafd'  # the shipped policy and its figures belong to these tasks


@pytest.fixture(scope='module')
def splits():
  return {split: generate.tasks(split) for split in SPLITS}


def test_every_split_is_large_enough(splits):
  assert len(splits['train']) >= 600
  assert len(splits['validation']) >= 100
  assert len(splits['test']) >= 100


def test_tasks_are_the_same_at_every_call(splits):
  assert generate.tasks('test') == splits['test']


def test_ids_are_unique(splits):
  ids = [task.id for tasks in splits.values() for task in tasks]
  assert len(set(ids)) == len(ids)


def test_no_subject_series_or_row_of_numbers_stands_in_two_splits(splits):
  def content(tasks):
    found = [c for task in tasks for c in criteria(task.rubric)]
    names = {c.what for c in found if isinstance(c, Mentions | Shows | Plots)}
    return names | {c.values for c in found if isinstance(c, Plots)}

  for a, b in itertools.combinations(SPLITS, 2):
    assert not content(splits[a]) & content(splits[b])
    assert not TOPICS[a].words & TOPICS[b].words
    assert not {i.sha256 for t in splits[a] for i in t.input_images} & {
      i.sha256 for t in splits[b] for i in t.input_images
    }


def test_every_rule_and_tool_set_occurs_in_every_split(splits):
  for tasks in splits.values():
    assert {task.image_rule.image_num for task in tasks} == {-1, 0, 99, 1, 2, 3, 4}
    assert {task.required_tools for task in tasks} == {
      *((), ('search',), ('code',), ('edit',), ('diffusion',)),
      *(('edit', 'search'), ('code', 'edit'), ('code', 'search')),
      *(('diffusion', 'edit'), ('diffusion', 'search')),
    }


def test_twins_share_content_and_only_the_explicit_one_names_its_tools(splits):
  for tasks in splits.values():
    by_id = {task.id: task for task in tasks}
    for task in tasks:
      twin = by_id[task.twin]
      assert twin.twin == task.id and twin.cue != task.cue
      assert (twin.rubric, twin.image_rule, twin.input_images) == (
        task.rubric,
        task.image_rule,
        task.input_images,
      )
      named = {
        tool for tool in ('search', 'code', 'edit', 'diffusion') if tool in task.question.lower().split()
      }
      plain = {word.strip('.') for word in task.question.lower().split()}
      named = plain & {'search', 'code', 'edit', 'diffusion'}
      assert named == (set(task.required_tools) if task.cue == 'explicit' else set())


def test_requests_are_short_and_name_content_mid_sentence(splits):
  for task in itertools.chain(*splits.values()):
    assert len(task.question.split()) <= 40
    for criterion in criteria(task.rubric):
      assert f' {criterion.what}' in task.question
      if isinstance(criterion, Plots):
        assert len(criterion.values) <= 6 and max(criterion.values) < 100


def test_edit_tasks_hold_their_pictures_and_others_none(splits):
  for task in itertools.chain(*splits.values()):
    inputs = {'input': 1, 'second_input': 2, 'twice': 1}.get(task.category[-1], 0)
    assert len(task.input_images) == inputs


def test_stream_never_says_a_held_out_word():
  held_out = TOPICS['validation'].words | TOPICS['test'].words
  phrases = set(scenes.phrases('test')) | set(scenes.phrases('validation'))
  for task in itertools.islice(generate.stream(0), 3000):
    asked = [c.what for c in criteria(task.rubric) if isinstance(c, Paints)]
    assert not set(asked) & phrases  # made of few words: what is held out are their pairs
    if not asked:
      assert not set(re.findall(r'\w+', task.question.lower())) & held_out


def test_stream_depends_on_its_seed_alone_and_its_vocabulary_is_large():
  first = list(itertools.islice(generate.stream(7), 1500))
  assert first[:50] == list(itertools.islice(generate.stream(7), 50))
  assert first[:50] != list(itertools.islice(generate.stream(8), 50))
  seen = content_words(c.what for task in first for c in criteria(task.rubric))
  assert len(seen) > 1000


def test_vocabulary_holds_no_held_out_word():
  held_out = TOPICS['validation'].words | TOPICS['test'].words
  known = {
    *(*vocabulary.NOUNS, *vocabulary.ADJECTIVES, *vocabulary.MEASURES),
    *' '.join(vocabulary.PLACES).split(),
  }
  assert not known & held_out
  assert not {vocabulary.plural(word) for word in known} & held_out


def test_painted_tasks_are_about_a_quarter_and_split_by_pairs_the_painter_never_saw(splits):
  for split, tasks in splits.items():
    share = sum('diffusion' in task.required_tools for task in tasks) / len(tasks)
    assert 0.15 < share < 0.35
    held = {
      scenes.Scene(s, c) for s in scenes.SUBJECTS for c in scenes.COLOURS if scenes.Scene(s, c).held_out
    }
    names = {f'{scene.colour} {scene.subject}' for scene in held}
    for task in tasks:
      for criterion in criteria(task.rubric):
        if isinstance(criterion, Paints):
          assert any(name in criterion.what for name in names) == (split == 'test')
          assert f' {criterion.what}' in task.question
  for a, b in itertools.combinations(SPLITS, 2):
    assert not set(scenes.phrases(a)) & set(scenes.phrases(b))


def test_painted_demonstrations_are_what_the_judges_want_and_their_prompts_can_be_painted(splits):
  known = scenes.vocabulary()
  seen = 0
  for task in splits['train']:
    if 'diffusion' in task.required_tools:
      text = demonstrations.demonstrate(task, random.Random(0))
      document = grammar.parse(text, rebuild.SPECS, len(task.input_images))
      calls = [segment for segment in document.segments if isinstance(segment, ToolCall)]
      assert sorted({call.tool for call in calls}) == list(task.required_tools)
      prompts = [str(call.params['prompt']) for call in calls if call.tool == 'diffusion']
      assert all(words.ids(prompt, known) for prompt in prompts)
      seen += len(prompts)
  assert seen > 50


def test_tasks_are_what_the_shipped_policy_was_trained_for(splits):
  asked = '\n'.join(task.question for split in SPLITS for task in splits[split])
  assert hashlib.sha256(asked.encode()).hexdigest()[:12] == TASKS
