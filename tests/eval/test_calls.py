"""Judges are asked once; what they say is kept before it is used; nothing is graded that was not."""

import asyncio

import pytest

from llmi_jax.core.task import Message, TextPart
from llmi_jax.eval import forms
from llmi_jax.eval.calls import Call, Caller, Grades
from llmi_jax.eval.forms import Json, Lines, Words
from llmi_jax.eval.store import Store
from llmi_jax.judges.verdict_form import UNREADABLE, Unreadable
from llmi_jax.services.cache import Cache
from llmi_jax.services.completion import ChatReply, ChatRequest
from llmi_jax.services.faults import ServiceFault


def call(name, words='Yes or No?', needs=(), form=None):
  request = ChatRequest((Message('user', (TextPart(words),)),))
  return Call(name, request, form or Words(lambda text: Grades({'judge': text})), 'hash', needs)


class Model:
  def __init__(self, *replies):
    self.replies, self.asked = list(replies), []

  async def complete(self, request):
    self.asked.append(request)
    reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
    await asyncio.sleep(0)
    if isinstance(reply, Exception):
      raise reply
    return ChatReply(reply, 'model', prompt_tokens=3, completion_tokens=2)


def ask(tmp_path, model, *calls, cache=None):
  store = Store(tmp_path)
  try:
    return asyncio.run(Caller(model.complete, 'm', 100, store, cache).ask_all(calls))
  finally:
    store.close()


def test_equal_questions_are_asked_once_even_after_a_restart(tmp_path):
  model = Model('Yes')
  first = ask(tmp_path, model, call('a'), call('b'), call('c', 'other'))
  again = ask(tmp_path, model, call('a'), call('b'), call('c', 'other'))
  assert len(model.asked) == 2 and first == again
  assert [said.name for said in first.values()] == ['a', 'b', 'c']


def test_failures_are_kept_too(tmp_path):
  model = Model(ServiceFault('refused', 'no'))
  first = ask(tmp_path, model, call('a'))
  assert ask(tmp_path, model, call('a')) == first and len(model.asked) == 1
  assert first['a'].missing == 'refused: no' and not first['a'].values


def test_what_presupposes_a_yes_waits_for_it(tmp_path):
  model = Model('Yes', 'No', 'Yes')
  found = ask(
    tmp_path, model, call('a', '1'), call('b', '2', ('a',)), call('c', '3', ('b',)), call('d', '4', ('x',))
  )
  assert found['b'].values == {'judge': 'No'}
  assert found['c'].spared and found['d'].spared and len(model.asked) == 2


def test_a_cache_serves_other_runs_and_keeps_no_failure(tmp_path):
  cache = Cache(tmp_path / 'cache')
  model = Model('Yes')
  ask(tmp_path / '1', model, call('a'), cache=cache)
  ask(tmp_path / '2', model, call('a'), cache=cache)
  assert len(model.asked) == 1
  failing = Model(ServiceFault('refused', 'no'), 'Yes')
  ask(tmp_path / '3', failing, call('b', 'b?'), cache=cache)
  assert ask(tmp_path / '4', failing, call('b', 'b?'), cache=cache)['b'].yes


def test_a_reply_that_cannot_be_read_is_asked_for_once_more(tmp_path):
  form = Lines('c0de', {'score': ('0', '1', '2')})
  model = Model('Two, I think.', 'VERDICT c0de\nscore: 2')
  said = ask(tmp_path, model, call('a', form=form))['a']
  assert said.values == {'score': 2.0} and said.tokens == (6, 4)
  hopeless = Model('Two, I think.')
  said = ask(tmp_path / 'x', hopeless, call('a', form=form))['a']
  assert said.missing.startswith('no_verdict') and len(hopeless.asked) == 2 and 'Two' in said.raw


@pytest.mark.parametrize(
  ('text', 'cause'),
  [
    ('9', 'no_verdict'),
    ('[2]', 'no_verdict'),
    ('{"score": 2', 'no_verdict'),
    ('{"score": 2, "score": 1}', 'ambiguous'),
    ('{"grade": 2}', 'incomplete'),
    ('{"score": true}', 'not_whole'),
    ('{"score": 1.9}', 'not_whole'),
    ('{"score": "2"}', 'not_whole'),
    ('{"score": 3}', 'out_of_range'),
    ('{"score": NaN}', 'not_whole'),
  ],
)
def test_strict_json_reads_whole_numbers_on_the_scale_alone(text, cause):
  form = Json(lambda data: Grades({'s': forms.whole_number(forms.member(data, 'score'), 's', 0, 2)}), True)
  with pytest.raises(Unreadable) as why:
    form.read(text, True)
  assert why.value.cause == cause and cause in UNREADABLE


def test_a_fence_around_json_is_looked_through():
  form = Json(lambda data: Grades({'s': data['score']}), True)
  assert form.read('```json\n{"score": 2}\n```', True).values == {'s': 2}
  with pytest.raises(Unreadable):
    form.read('{"score": 2}', False)


def test_a_storage_failure_ends_the_run_as_itself(tmp_path):
  class Broken:
    def reply(self, key):
      return None

    def keep_reply(self, key, said):
      raise OSError('disk')

  caller = Caller(Model('Yes').complete, 'm', 1, Broken())
  with pytest.raises(OSError, match='disk'):
    asyncio.run(caller.ask_all([call('a'), call('b', 'b')]))
