"""One rollout shows all that is known of it, and its reward adds up."""

import pytest

from llmi_jax.data import rollout
from llmi_jax.data.rollout import RewardPart
from llmi_jax.report import pictures, reward
from llmi_jax.report.render import Sibling, render, rule


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
  assert 'add up to' not in html


def test_a_reward_that_does_not_add_up_is_called_out(make, album):
  html = shown(make, album, make.Answering().text('x'), reward=0.9)
  assert 'but the stored reward is 0.900' in html


def test_an_unscorable_sample_says_so(make, album):
  html = shown(make, album, make.Answering().text('x'), parts=(1.0, None, None), reward=None)
  assert 'unscorable' in html and 'the judge was unreachable' in html and 'add up to' not in html


def test_a_sample_stands_in_its_group(make, album):
  group = (Sibling(0, 0.25, -0.5), Sibling(1, None, 0.0), Sibling(2, 0.75, 0.5))
  html = shown(make, album, make.Answering().text('x'), siblings=group)
  assert 'class="self"' in html and 'n/a' in html and 'mean 0.500 over 2 scored samples' in html


def test_credit_is_given_and_linked(make, album):
  from llmi_jax.core.outcome import Attribution

  credit = Attribution('Heron', 'A. Nyholm', 'CC BY 4.0', 'https://example.org/h')
  html = shown(make, album, make.Answering().picture('search', make.scene(1), credit=credit))
  assert 'A. Nyholm' in html and 'CC BY 4.0' in html and 'href="https://example.org/h"' in html


def test_pictures_beyond_the_budget_leave_a_note_and_keep_their_words(make):
  tight = pictures.Pictures(pictures.from_images({make.scene(1).sha256: make.scene(1)}), 100)
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
