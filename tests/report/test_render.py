"""One rollout shows all that is known of it, and its reward adds up."""

import dataclasses
import re

import numpy as np
import pytest

from llmi_jax.core.errors import DataError
from llmi_jax.data import rollout, rollouts
from llmi_jax.data.rollout import RewardPart
from llmi_jax.report import notebook, pictures, reward, tokens
from llmi_jax.report.render import Sibling, anchor, render, rule


@pytest.fixture
def album():
  known = {}
  made = pictures.Pictures(pictures.from_images(known), 1 << 20)
  return made, known


def shown(make, album, built, task=None, siblings=(), **scores):
  sampled = built.sample(task or make.task('birds/1'), 5, **scores)
  album[1].update({p.image.sha256: p.image for p in sampled.answer.pictures})
  album[1].update({i.sha256: i for i in sampled.task.input_images})
  return render(rollout.from_trajectory(sampled, make.weights), album[0], siblings=siblings)


def test_the_answer_stands_in_order_with_pictures_in_their_places(make, album):
  built = (
    make.Answering().thought('plan').text('First words.').picture('search', make.scene(1)).text('Last words.')
  )
  html = shown(make, album, built)
  places = [
    html.index(w) for w in ('plan', 'First words.', 'data:image/webp', 'grey heron fishing', 'Last words.')
  ]
  assert places == sorted(places)


def test_a_gap_is_worded_with_its_cause(make, album):
  built = (
    make.Answering().lost('code', 'unavailable', 'environment', 'Timed out after 30 s.').malformed('<imgen>x')
  )
  html = shown(make, album, built)
  for words in (
    'The code tool gave no picture here.',
    'Timed out after 30 s.',
    '3 attempts',
    'malformed: syntax',
  ):
    assert words in html
  assert 'the environment&#39;s doing' in html


def test_the_reward_is_taken_apart_and_adds_up(make, album):
  html = shown(make, album, make.Answering().text('x'), parts=(0.5, 0.8, 0.6))
  assert 'R = 0.2 · rule + 0.5 · llm + 0.3 · rule · mllm' in html
  for adds in ('0.100', '0.400', '0.090', '0.590'):
    assert f'<td>{adds}</td>' in html
  assert 'add up to' not in html and '0.590 =' in html


def test_everything_stands_in_its_order(make, album):
  built = make.Answering().thought('a plan').text('First words.').picture('search', make.scene(1))
  html = shown(make, album, built, siblings=(Sibling(0, 0.5, 0.3), Sibling(1, 0.25, -0.3)), advantage=0.3)
  order = ('Tell a visitor', 'Prompt as the model read it', 'a plan', 'First words.', 'data:image/webp')
  order += ('grey heron fishing', '0.42 s', 'trained on', 'Each token', 'Clear and to the point.')
  order += ('sum of the parts', 'as stored', 'Advantage within its group', 'Response as the model wrote it')
  places = [html.index(words) for words in order]
  assert places == sorted(places)


def test_forced_tokens_are_told_from_those_trained_on(make):
  sampled = make.Answering().text('x' * 40).sample(make.task('a'), 1)
  flat = rollout.from_trajectory(sampled, make.weights)
  mask = np.arange(10) >= 3
  logp = np.linspace(-1, -0.1, 10).astype(np.float32)
  flat = dataclasses.replace(
    flat, tokens=np.arange(10, dtype=np.int32), mask=mask, logp_full=logp, logp_sampled=logp * 2
  )
  drawn = tokens.draw(flat)
  assert drawn.words.startswith(
    '10 tokens, 7 trained on, 3 forced. Mean log-prob -0.400 at temperature 1, -0.800'
  )
  assert drawn.words.endswith('the least likely is number 3 with -0.70.')
  assert drawn.svg.count('M') == 10 and drawn.listing.count(' no') == 3
  assert tokens.draw(dataclasses.replace(flat, tokens=np.zeros(0, np.int32))) is None


def test_a_name_is_an_anchor_unless_it_has_odd_letters(make):
  flat = rollout.from_trajectory(make.Answering().text('x').sample(make.task('birds/1'), 5), {}, run='mine')
  assert anchor(flat) == 'mine/5/birds/1/0'
  assert anchor(dataclasses.replace(flat, id='5/"><b>/0')).startswith('r-')


def test_a_notebook_shows_a_rollout_in_a_frame_of_its_own(run_folder):
  (row,) = list(rollouts.read(run_folder / 'rollouts/train'))[:1]
  html = notebook.Run(run_folder).show(row.id)._repr_html_()
  assert re.fullmatch(
    r'<iframe sandbox srcdoc="[^"]*" title="[^"]*" width="100%" height="\d+"></iframe>', html
  )
  assert 'Content-Security-Policy' in html and 'as stored' in html
  with pytest.raises(DataError, match='no rollout 9/x/0'):
    notebook.Run(run_folder).show('9/x/0')


def test_a_reward_that_does_not_add_up_is_called_out(make, album):
  html = shown(make, album, make.Answering().text('x'), reward=0.9)
  assert 'but the stored reward is 0.900' in html


def test_an_unscorable_sample_says_so(make, album):
  html = shown(make, album, make.Answering().text('x'), parts=(1.0, None, None), reward=None)
  assert 'unscorable' in html and 'the judge was unreachable' in html and 'add up to' not in html


def test_a_sample_stands_in_its_group(make, album):
  group = (Sibling(0, 0.25, -0.5), Sibling(1, None, 0.0), Sibling(2, 0.75, 0.5))
  html = shown(make, album, make.Answering().text('x'), siblings=group)
  assert 'class="self"' in html and 'n/a' in html and 'mean is 0.500 over 2 scored samples' in html


def test_credit_is_given_and_linked(make, album):
  from llmi_jax.core.outcome import Attribution

  credit = Attribution('Heron', 'A. Nyholm', 'CC BY 4.0', 'https://example.org/h')
  html = shown(make, album, make.Answering().picture('search', make.scene(1), credit=credit))
  assert 'A. Nyholm' in html and 'CC BY 4.0' in html and 'href="https://example.org/h"' in html


def test_pictures_beyond_the_budget_leave_a_note_and_keep_their_words(make):
  known = {make.scene(1).sha256: make.scene(1)}
  tight = pictures.Pictures(pictures.from_images(known), 100, linked=False)
  html = shown(make, (tight, {}), make.Answering().picture('search', make.scene(1)))
  assert 'Left out to keep this page small.' in html and 'grey heron fishing' in html
  assert tight.dropped == 1 and 'data:image' not in html


def test_a_missing_picture_is_said(make):
  empty = pictures.Pictures(pictures.from_images({}), 1 << 20)
  html = shown(make, (empty, {}), make.Answering().picture('search', make.scene(1)))
  assert 'is not at hand' in html


def test_a_picture_that_is_not_what_its_name_says_is_refused(make, tmp_path):
  ref = rollout.PictureRef(make.scene(1).sha256, 300, 200)
  (tmp_path / 'images').mkdir()
  (tmp_path / ref.path).write_bytes(make.scene(2).png)
  album = pictures.Pictures(pictures.from_folder(tmp_path), 1 << 20)
  assert 'is not the picture it is named after' in album.show(ref).missing
  assert 'no proper name' in album.show(rollout.PictureRef('../../etc/passwd', 1, 1)).missing


def test_an_endless_answer_is_cut_with_a_note(make, album):
  built = make.Answering()
  for _ in range(400):
    built.text('word ').lost('code')
  assert 'Cut: 300 of 800 parts of this answer are shown.' in shown(make, album, built)


def test_shares_follow_weights_and_gates():
  parts = (RewardPart('rule', 0.5, 0.2), RewardPart('llm', 0.5, 0.5), RewardPart('mllm', 1.0, 0.3, 'rule'))
  assert [s.adds for s in reward.shares(parts)] == pytest.approx([0.1, 0.25, 0.15])
  assert reward.total(reward.shares(parts)) == pytest.approx(0.5)


def test_a_missing_part_behind_a_closed_gate_is_not_missed():
  parts = (RewardPart('rule', 0.0, 0.2), RewardPart('llm', 1.0, 0.5), RewardPart('mllm', None, 0.3, 'rule'))
  assert reward.total(reward.shares(parts)) == 0.5
  opened = (RewardPart('rule', 1.0, 0.2), *parts[1:])
  assert reward.total(reward.shares(opened)) is None
  assert reward.agrees(reward.shares(opened), None) and not reward.agrees(reward.shares(opened), 0.7)


def test_rules_are_words():
  assert [rule(n) for n in (-1, 0, 99, 1, 3)] == [
    'no image',
    'images as it likes',
    'at least one image',
    'exactly 1 image',
    'exactly 3 images',
  ]
