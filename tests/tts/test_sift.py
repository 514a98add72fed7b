"""Filtering: reasons, relaxing, and that the environment is held against nobody."""

import asyncio

import pytest

from llmi_jax.services.faults import ServiceFault
from llmi_jax.tools.registry import ToolFailure
from llmi_jax.tts import sample, sift
from llmi_jax.tts.settings import Enhance, Plan, Sift
from llmi_jax.tts.tree import Tree
from tests.doubles import scaling

CAT = scaling.tagged('search', query='cat')
BAD_CODE = scaling.tagged('code', code='bad')
GOOD = f'A cat. {CAT} It sleeps.'


async def sifted(task, crew, settings, enhance=None):
  plan = Plan(samples=4, sift=settings, enhance=enhance)
  tree = await sample.sample(task, Tree(), crew, plan, lambda tree: None, 0)
  return await sift.sift(task, tree, crew, plan, lambda tree: None)


def run(responses, rule=('exactly', 1), settings=Sift(), fails=None, **more):
  tools = scaling.Tools(fails)
  crew = scaling.crew(responses, tools=tools, **more)
  tree = asyncio.run(sifted(scaling.task(*rule), crew, settings))
  return tree, tools


def test_each_drop_has_its_reason():
  tree, _ = run(
    [GOOD, f'Two. {CAT} {CAT}', f'Broken. {CAT} <imgen>{{"source"</imgen>', f'{CAT}{BAD_CODE}{BAD_CODE}']
  )
  why = {fate.revision: fate.why for fate in tree.fates if not fate.kept}
  assert tree.live == (0,)
  assert 'the rule is exactly 1' in why[1]
  assert 'malformed' in why[2]
  assert '1 of 3 calls' in why[3]
  assert not tree.notes


def test_levels_relax_one_by_one_from_the_last():
  levels = Sift(('well_formed', 'image_rule', 'all_ok'))
  tree, _ = run([f'{CAT}{CAT}{BAD_CODE}', 'Nothing.'], settings=levels)
  assert tree.live == (0, 1, 2, 3)
  assert [note.words for note in tree.notes] == [
    'Nobody was left, so the level all_ok was dropped.',
    'Nobody was left, so the level image_rule was dropped.',
  ]


def lost_at_first():
  seen = set()

  def fails(tool, params, context):
    if context.variant == 0:
      return ToolFailure('The quota is used up.', 'environment')
    seen.add(params.get('query'))

  return fails


def test_what_the_environment_lost_is_tried_again():
  tree, tools = run([GOOD], fails=lost_at_first())
  assert [tree.revisions[index].stage for index in tree.live] == ['filter'] * 4
  assert all(len(answer.pictures) == 1 for answer in tree.answers)
  assert tree.revisions[tree.live[0]].changed == (0,)
  assert not tree.notes
  assert len(tools.calls) == 2  # equal calls are made once


@pytest.mark.parametrize('levels', [('image_rule',), ('all_ok',), ('success',)])
def test_what_stays_lost_is_held_against_nobody(levels):
  fails = lambda *_: ToolFailure('The quota is used up.', 'environment')
  tree, _ = run([GOOD], settings=Sift(levels), fails=fails)
  assert len(tree.live) == 4
  assert 'lost calls to the environment' in tree.notes[0].words


def test_an_edit_of_a_lost_picture_is_made_again_after_it():
  edit = scaling.tagged('edit', img_index=0, prompt='grey')
  fails = lambda tool, params, context: (
    ToolFailure('Down.', 'environment') if tool == 'search' and context.variant == 0 else None
  )
  tree, _ = run([f'{CAT}{edit}'], rule=('exactly', 2), fails=fails)
  assert all(len(answer.pictures) == 2 for answer in tree.answers)
  assert tree.revisions[tree.live[0]].changed == (0, 1)


def test_code_that_can_still_be_mended_keeps_the_image_rule():
  async def repairer(task, call, error):
    raise ServiceFault('refused', 'not here')

  tools = scaling.Tools()
  crew = scaling.crew([f'A plot. {BAD_CODE}', 'None.'], tools=tools, repairer=repairer)
  tree = asyncio.run(sifted(scaling.task('exactly', 1), crew, Sift(('image_rule',)), Enhance()))
  assert tree.live == (0, 2)
  tree = asyncio.run(sifted(scaling.task('exactly', 1), crew, Sift(('image_rule',)), None))
  assert len(tree.live) == 4  # nobody will mend it: nobody keeps the rule, and the level goes
