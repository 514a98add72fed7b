"""Polishing: marks, image rule and manners, or the unpolished answer stays."""

import asyncio

import pytest

from llmi_jax.core.answer import Prose
from llmi_jax.services.faults import ServiceFault
from llmi_jax.tts import pipeline, polish, sample
from llmi_jax.tts.settings import Plan, Polish
from llmi_jax.tts.tree import Tree
from tests.doubles import scaling

TASK = scaling.task()
CAT, DOG = (scaling.tagged('search', name, query=name) for name in ('cat', 'dog'))
RESPONSE = (
  f'<think>Hm.</think>A cat: {CAT} and a dog: {DOG} and a plot: {scaling.tagged("code", code="bad")} End.'
)


def answer():
  crew = scaling.crew([RESPONSE])
  tree = asyncio.run(sample.sample(TASK, Tree(), crew, Plan(samples=1), lambda tree: None, 0))
  return tree.answer(0), crew.specs


def marks(found):
  return [f'[[{n}:{polish.code(found)}]]' for n in (1, 2, 3)]


def test_text_is_rewritten_around_the_pictures():
  found, specs = answer()
  a, b, c = marks(found)
  made = polish.rewritten(
    TASK, found, f'A cat sleeps.\n\n{a}\n\nA dog wakes.\n{b}\n{c}\nBoth are pets.\n', specs
  )
  assert [p.text.strip() for p in made.parts if isinstance(p, Prose)] == [
    'A cat sleeps.',
    'A dog wakes.',
    '',
    'Both are pets.',
  ]
  assert [p.image for p in made.pictures] == [p.image for p in found.pictures]
  assert made.document.response.count('<imgen>') == 3 and 'think' not in made.document.response
  assert len(made.gaps) == 1


@pytest.mark.parametrize(
  ('reply', 'why'),
  [
    ('A {b} {a} {c}', 'its marks are 2, 1, 3'),
    ('A {a} {b}', 'its marks are 1, 2;'),
    ('A {a} {b} {c} {a}', 'its marks are 1, 2, 3, 1'),
    ('A text.', 'its marks are gone'),
    ('A {a} {b} {c} <imgen>{{}}</imgen>', "'<imgen>'"),
    ('A {a} {b} {c} <think>', "'<think>'"),
    ('A {a} {b} {c} [[4:00000000]]', "'[['"),
    ('A {a} {b} {c} <|im_end|>', 'im_end'),
    ('Here is an image of a cat. {a} {b} {c}', 'announces'),
    ('{a} {b} {c}', 'no words'),
    ('```\nA cat {a} {b}\n```\n{c} end', 'how the tags are read'),
    ('{a} {b} {c} ' + 'long ' * 2000, 'characters'),
    ('A cat: {a} and a dog: {b} and a plot: {c} End.', 'the same text'),
  ],
)
def test_what_breaks_a_rule_is_refused(reply, why):
  found, specs = answer()
  a, b, c = marks(found)
  with pytest.raises(polish.Refused, match=why.replace('[', r'\[').replace('<', '<')):
    polish.rewritten(TASK, found, reply.format(a=a, b=b, c=c), specs)


def test_who_only_reads_is_told_what_pictures_show():
  found, _ = answer()
  shown = polish.marked(found, sees=False)
  text = ''.join(part.text for part in shown)
  assert 'a picture: cat; cat/0' in text and marks(found)[2] in text
  assert sum(not hasattr(part, 'text') for part in polish.marked(found, sees=True)) == 2


def run(polisher, grade, rounds=1):
  crew = scaling.crew([RESPONSE], polisher=polisher, grade=grade)
  plan = Plan(samples=1, sift=None, enhance=None, polish=Polish(rounds))
  return asyncio.run(pipeline.run(TASK, crew, plan, 0))


def better(words):
  async def polisher(task, found):
    a, b, c = marks(found)
    return f'{words} {len(found.document.response)}.\n{a}\n{b}\n{c}'

  return polisher


def length(answer):
  return min(1.0, sum(len(p.text) for p in answer.parts if isinstance(p, Prose)) / 1000)


@pytest.mark.parametrize(
  ('words', 'stages'), [('A much longer text about both of them', ['polish']), ('Oh', ['sample'])]
)
def test_the_last_choice_is_between_polished_and_unpolished(words, stages):
  result = run(better(words), length)
  assert len(result.tree.revisions) == 2
  assert [result.tree.revisions[result.chosen].stage] == stages


def test_rounds_build_on_each_other():
  result = run(better('A text that grows and grows'), length, rounds=2)
  assert [r.parent for r in result.tree.revisions] == [None, 0, 1]


@pytest.mark.parametrize('cause', ['busy', 'budget'])
def test_without_a_polisher_the_unpolished_answer_stays(cause):
  async def polisher(task, found):
    raise ServiceFault(cause, 'not now')

  result = run(polisher, length)
  assert result.chosen == 0
  assert any(cause in fate.why for fate in result.tree.fates if fate.stage == 'polish')
