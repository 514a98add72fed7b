"""What is spent, and what may be."""

import asyncio

import pytest

from llmi_jax.core.errors import ConfigError
from llmi_jax.services.completion import ChatReply, ChatRequest
from llmi_jax.services.faults import ServiceFault
from llmi_jax.tts.ledger import Ledger, Price, Spent
from llmi_jax.tts.settings import Enhance, Limits, Plan, Sift

REQUEST = ChatRequest(())


class Clock:
  def __init__(self):
    self.time = 0.0

  def __call__(self):
    return self.time


async def reply(request):
  return ChatReply('x', 'm', prompt_tokens=100, completion_tokens=20, seconds=2.0)


def test_account_by_stage_and_role():
  clock = Clock()
  ledger = Ledger(prices={'selector': Price(10.0, 50.0, 1.0)}, flops={'policy': 7.0}, now=clock)
  with ledger.at('sample'):
    ledger.charge('policy', Spent(0, 30, 10))
    clock.time = 3.0
  with ledger.at('select'):
    asyncio.run(ledger.metered('selector', reply)(REQUEST))
    asyncio.run(ledger.metered('selector', reply)(REQUEST))
    clock.time = 5.0
  account = ledger.account()
  assert account.rows['sample', 'policy'] == Spent(0, 30, 10, 280.0)
  assert account.rows['select', 'selector'] == Spent(2, 200, 40, 0.0, pytest.approx(2 + 0.002 + 0.002), 4.0)
  assert (account.wall, account.seconds) == ({'sample': 3.0, 'select': 2.0}, 5.0)
  assert account.total.tokens == 280


def test_no_call_beyond_the_budget():
  ledger = Ledger(Limits(calls=3))
  ask = ledger.metered('selector', reply)

  async def many():
    return await asyncio.gather(*(ask(REQUEST) for _ in range(5)), return_exceptions=True)

  with ledger.at('select'):
    found = asyncio.run(many())
  assert [isinstance(one, ServiceFault) and one.cause == 'budget' for one in found] == [False] * 3 + [
    True
  ] * 2
  assert 'calls of the whole' in ledger.account().stopped['select']


def test_a_stage_has_its_own_budget():
  clock = Clock()
  ledger = Ledger(Limits(seconds=10), {'select': Limits(seconds=4, tokens=50)}, now=clock)
  with ledger.at('sample'):
    clock.time = 3.0
    assert ledger.left == 7.0
    ledger.charge('policy', Spent(0, 60, 0))
    assert not ledger.refusal
  with ledger.at('select'):
    assert ledger.left == 4.0
    ledger.charge('selector', Spent(1, 60, 0))
    assert 'tokens of the stage select' in ledger.refusal
  with ledger.at('enhance'):
    assert not ledger.refusal
    clock.time = 10.0
    assert 'seconds' in ledger.refusal


@pytest.mark.parametrize(
  'make',
  [
    lambda: Plan(samples=2, keep=3),
    lambda: Plan(stages={'sampel': Limits()}),
    lambda: Sift(('well-formed',)),
    lambda: Sift(success=1.5),
    lambda: Enhance(ways={'code': 'mend'}),
    lambda: Limits(seconds=-1),
  ],
)
def test_bad_plans_are_refused(make):
  with pytest.raises(ConfigError):
    make()
