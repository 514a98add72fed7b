"""Who is preferred: what was not judged is no loss, ties go by index, orders are asked both ways."""

import asyncio
import re

import pytest

from llmi_jax.core.answer import Answer, Prose
from llmi_jax.judges.pairwise import Comparison
from llmi_jax.services.chat import ChatClient, ChatSettings
from llmi_jax.services.retry import Retry
from llmi_jax.tts.listing import Lists
from llmi_jax.tts.selectors import Pairs, Scores, ranking
from tests.doubles import scaling
from tests.doubles.chat import Act, ChatServer, texts

TASK = scaling.task()
ANSWERS = [Answer('t', (Prose(f'Text {name} of worth {n}.'),)) for name, n in zip('abcd', (2, 7, 5, 7))]


def worth(text):
  return int(re.search(r'worth (\d)', text)[1])


@pytest.mark.parametrize(
  ('values', 'order'),
  [
    ([0.2, 0.9, 0.5], (1, 2, 0)),
    ([0.5, 0.5, 0.5], (0, 1, 2)),
    ([0.1, None, 0.9], (2, 1, 0)),  # between the two: the mean of what is known
    ([None, 0.5], (1, 0)),  # among equals the judged one first
    ([None, None], (0, 1)),
  ],
)
def test_order(values, order):
  assert ranking(values, [''] * len(values)).order == order


def test_nothing_beats_what_was_not_judged():
  found = ranking([None, 0.9, 0.1], [''] * 3)
  assert not found.beats(1, 0) and not found.beats(0, 2) and found.beats(1, 2)


def test_scores_ask_once_about_equal_answers():
  asked = []

  def grade(answer):
    asked.append(answer)
    return worth(answer.parts[0].text) / 10

  selector = Scores('double', [scaling.judge(grade)], scaling.value)
  found = asyncio.run(selector.rank(TASK, [*ANSWERS, ANSWERS[0]]))
  assert found.order == (1, 3, 2, 0, 4)
  assert len(asked) == 4


def test_a_lost_verdict_is_counted_and_no_loss():
  grades = {2: 0.1, 5: None, 7: 0.6}
  selector = Scores(
    'double', [scaling.judge(lambda answer: grades[worth(answer.parts[0].text)])], scaling.value
  )
  found = asyncio.run(selector.rank(TASK, ANSWERS))
  assert (found.order, found.lost) == ((1, 3, 2, 0), 1)


def pair_script(body, number):
  text = texts(body)
  code = re.search(r'BEGIN DOCUMENT A (\w+)', text)[1]
  a, b = (worth(re.search(rf'BEGIN DOCUMENT {x} {code}(.*?)END DOCUMENT {x}', text, re.S)[1]) for x in 'AB')
  better = 'tie' if a == b else 'A' if a > b else 'B'
  return Act(text=f'So.\nVERDICT {code}\nbetter: {better}')


def list_script(body, number):
  text = texts(body)
  code = re.search(r'BEGIN DOCUMENT A (\w+)', text)[1]
  found = re.findall(rf'BEGIN DOCUMENT (\w) {code}(.*?)END DOCUMENT', text, re.S)
  order = sorted(found, key=lambda pair: -worth(pair[1]))
  places = '\n'.join(f'place {n}: {label}' for n, (label, _) in enumerate(order, 1))
  return Act(text=f'So.\nVERDICT {code}\n{places}')


def rank(script, make, answers=ANSWERS):
  async def work():
    async with ChatServer(script) as server:
      async with ChatClient(ChatSettings((server.url,), retry=Retry(1))) as chat:
        selector = make(chat.complete)
        return await selector.rank(TASK, answers), len(server.requests)

  return asyncio.run(work())


def test_pairs_over_a_socket():
  found, asked = rank(pair_script, lambda ask: Pairs('double', Comparison(ask).compare))
  assert found.order == (1, 3, 2, 0)
  assert asked == 2 * 6
  assert found.values == (0.0, 2.5 / 3, 1 / 3, 2.5 / 3)


def test_a_judge_that_always_says_a_is_swayed_by_the_order():
  def script(body, number):
    code = re.search(r'BEGIN DOCUMENT A (\w+)', texts(body))[1]
    return Act(text=f'VERDICT {code}\nbetter: A')

  found, _ = rank(script, lambda ask: Pairs('double', Comparison(ask).compare))
  assert found.order == (0, 1, 2, 3)
  assert set(found.values) == {0.5} and 'swayed' in found.words[0]


def test_few_opponents_are_a_ring():
  found, asked = rank(pair_script, lambda ask: Pairs('double', Comparison(ask).compare, 1))
  assert asked == 2 * 4
  assert found.values == (0.0, 1.0, 0.0, 1.0)


def test_lists_over_a_socket():
  found, asked = rank(list_script, lambda ask: Lists('double', ask))
  assert asked == 2
  assert found.values == pytest.approx(
    (0.0, 5 / 6, 1 / 3, 5 / 6)
  )  # the tie is broken by the order shown, both ways
  assert found.order == (1, 3, 2, 0)


@pytest.mark.parametrize('act', [Act('status', 'no', 500), Act(text='I like them all.')])
def test_a_list_that_is_lost_leaves_the_order(act):
  found, _ = rank(lambda body, number: act, lambda ask: Lists('double', ask))
  assert (found.order, found.lost) == ((0, 1, 2, 3), 2)


def test_two_places_for_one_document_are_no_order():
  def script(body, number):
    code = re.search(r'BEGIN DOCUMENT A (\w+)', texts(body))[1]
    return Act(text=f'VERDICT {code}\nplace 1: A\nplace 2: A\nplace 3: B\nplace 4: C')

  found, _ = rank(script, lambda ask: Lists('double', ask))
  assert found.lost == 2 and set(found.values) == {None}
