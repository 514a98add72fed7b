"""Pictures bettered in their places, and what builds on them."""

import asyncio

import pytest

from llmi_jax.core.answer import Picture
from llmi_jax.tools.code import code_tool
from llmi_jax.tools.registry import Registry, ToolFailure
from llmi_jax.tools.sandbox.host import Figures, Sandbox
from llmi_jax.tts import enhance, repair, sample
from llmi_jax.tts.settings import Enhance, Plan
from llmi_jax.tts.tree import Tree
from tests.doubles import scaling

CAT = scaling.tagged('search', query='cat')
PAINT = scaling.tagged('diffusion', prompt='house')
EDIT = scaling.tagged('edit', img_index=0, prompt='grey')
CODE = scaling.tagged('code', code='bad')


async def enhanced(crew, settings=Enhance(), task=scaling.task()):
  plan = Plan(samples=1, sift=None, enhance=settings)
  tree = await sample.sample(task, Tree(), crew, plan, lambda tree: None, 0)
  return await enhance.enhance(task, tree, crew, plan, lambda tree: None)


def likes(*names):
  """Grades an answer by how many of its pictures are liked ones."""
  wanted = {scaling.picture(name).sha256 for name in names}

  def grade(answer):
    return sum(p.image.sha256 in wanted for p in answer.pictures) / max(1, len(names))

  return grade


def shown(tree, index=-1):
  return [p.image.sha256 for p in tree.answer(tree.live[index]).pictures]


def test_search_looks_at_more_candidates():
  tools = scaling.Tools()
  crew = scaling.crew([f'A cat. {CAT}'], tools=tools, grade=likes('cat/2'))
  tree = asyncio.run(enhanced(crew))
  assert shown(tree) == [scaling.picture('cat/2').sha256]
  assert tree.revisions[tree.live[0]].changed == (0,)
  assert 'candidate 2' in tree.revisions[tree.live[0]].why
  assert [fate.kept for fate in tree.fates] == [False, True]
  assert len(tools.calls) == 2


def test_diffusion_tries_seeds_all_at_once():
  tools = scaling.Tools(seconds=0.05)
  crew = scaling.crew([f'A house. {PAINT}{PAINT}'], tools=tools)
  asyncio.run(enhanced(crew, Enhance(variants=3)))
  assert len(tools.calls) == 2 + 2 * 3
  assert tools.most == 6


def test_the_original_wins_a_tie():
  crew = scaling.crew([f'A house. {PAINT}{CAT}'], grade=lambda answer: 0.7)
  tree = asyncio.run(enhanced(crew))
  assert tree.live == (0,) and len(tree.revisions) == 1


def test_what_builds_on_a_changed_picture_is_made_again():
  tools = scaling.Tools()
  crew = scaling.crew([f'A cat. {CAT} Grey: {EDIT}'], tools=tools, grade=likes('cat/1'))
  tree = asyncio.run(enhanced(crew))
  cat, grey = shown(tree)
  assert cat == scaling.picture('cat/1').sha256
  assert grey == scaling.picture(f'{cat}/grey/2000').sha256
  assert tree.revisions[tree.live[0]].changed == (0, 1)


def test_a_change_that_cannot_be_built_upon_is_taken_back():
  changed = scaling.picture('cat/1').sha256

  def fails(tool, params, context):
    broken = tool == 'edit' and context.images[0].sha256 == changed
    return ToolFailure('It cannot be edited.', 'policy') if broken else None

  crew = scaling.crew([f'{CAT}{EDIT}{PAINT}'], tools=scaling.Tools(fails), grade=likes('cat/1'))
  tree = asyncio.run(enhanced(crew))
  assert tree.live == (0,) and len(tree.revisions) == 1


def fixes(*sources):
  """A repairer with these replies, and what it was shown."""
  seen, left = [], iter(sources)

  async def ask(task, call, error):
    seen.append((call.params['code'], error))
    return f'Here.\n```python\n{next(left)}\n```'

  return ask, seen


def test_code_is_mended_from_its_error():
  repairer, seen = fixes('still bad', "x = '<imgen>'\ngood")
  crew = scaling.crew([f'A plot. {CODE} Done.'], repairer=repairer, grade=lambda a: float(len(a.pictures)))
  tree = asyncio.run(enhanced(crew))
  answer = tree.answer(tree.live[0])
  assert [source for source, _ in seen] == ['bad', 'still bad']
  assert 'NameError' in seen[0][1]
  picture = next(part for part in answer.parts if isinstance(part, Picture))
  assert picture.call.params['code'] == "x = '<imgen>'\ngood"
  assert answer.document.response.startswith('A plot. <imgen>') and answer.document.response.endswith(
    '</imgen> Done.'
  )


def test_mending_ends_after_r_tries():
  repairer, seen = fixes(*'abcdef')
  crew = scaling.crew([f'A plot. {CODE}'], repairer=repairer)
  tree = asyncio.run(enhanced(crew, Enhance(repairs=3)))
  assert len(seen) == 3 and tree.live == (0,)


@pytest.mark.parametrize(
  ('reply', 'source'),
  [
    ('```python\na\n```', 'a'),
    ('First:\n```\na\n```\nBetter:\n~~~py\nb\nc\n~~~\n', 'b\nc'),
    ('no code', ''),
    ('````\n```\na\n```\n````', '```\na\n```'),
  ],
)
def test_code_of_a_reply(reply, source):
  assert repair.code(reply) == source


def test_a_mended_plot_never_breaks_the_image_rule():
  repairer, _ = fixes('good')
  crew = scaling.crew([f'{CAT} {CODE}'], repairer=repairer, grade=lambda a: float(len(a.pictures)) / 2)
  tree = asyncio.run(enhanced(crew, Enhance(variants=0), scaling.task('exactly', 1)))
  assert tree.live == (0,)
  assert 'image rule' in tree.fates[-1].why


@pytest.mark.slow
def test_code_is_mended_in_the_sandbox():
  async def work():
    sandbox = await Sandbox.open(Figures(2, 2, 40, 6, False), 1)
    try:
      tools = scaling.Tools()
      others = [tool for tool in tools.registry if tool.spec.name != 'code']
      tools.registry = Registry([*others, code_tool(sandbox)])
      repairer, seen = fixes('plt.plot([1, 2, 3])')
      response = f'A plot. {scaling.tagged("code", code="plt.plot(undefined)")}'
      crew = scaling.crew([response], tools=tools, repairer=repairer, grade=lambda a: float(len(a.pictures)))
      return await enhanced(crew), seen
    finally:
      await sandbox.close()

  tree, seen = asyncio.run(work())
  assert 'undefined' in seen[0][1]
  assert len(tree.answer(tree.live[0]).pictures) == 1
