import asyncio

import pytest

from llmi_jax.core.errors import ConfigError
from llmi_jax.services.breaker import Breaker
from llmi_jax.services.faults import ServiceFault
from llmi_jax.services.retry import Retries, Retry


class Clock:
  """A clock that only sleeping moves."""

  def __init__(self):
    self.time = 0.0
    self.waits: list[float] = []

  async def sleep(self, seconds):
    self.waits.append(seconds)
    self.time += seconds

  def now(self):
    return self.time


def run(policy, faults, *, until=float('inf'), key='k', seed=0):
  """(result or fault, tries, waits) of a call that raises `faults` in turn and then succeeds."""
  clock, tries = Clock(), []

  async def attempt(number):
    tries.append(number)
    if len(tries) <= len(faults):
      raise faults[len(tries) - 1]
    return 'done'

  retries = Retries(policy, seed, sleep=clock.sleep, now=clock.now)
  try:
    result = asyncio.run(retries.run(attempt, key=key, until=until))
  except ServiceFault as fault:
    result = fault
  return result, tries, clock.waits


def busy(**more):
  return ServiceFault('busy', 'later', **more)


def test_what_passes_is_tried_again_and_waits_grow_within_their_bounds():
  result, tries, waits = run(Retry(5, base=1.0, cap=3.0), [busy() for _ in range(4)])
  assert result == 'done' and tries == [1, 2, 3, 4, 5]
  assert all(0 <= wait <= bound for wait, bound in zip(waits, (1, 2, 3, 3)))


def test_jitter_is_a_function_of_seed_and_key():
  draw = lambda **about: run(Retry(4), [busy()] * 3, **about)[2]
  assert draw() == draw()
  assert draw() != draw(key='other') and draw() != draw(seed=1)


def test_what_does_not_pass_ends_at_once():
  fault = ServiceFault('refused', 'no', status=401)
  result, tries, waits = run(Retry(), [fault])
  assert result is fault and tries == [1] and not waits and fault.attempts == 1


def test_the_last_fault_is_told_with_its_tries():
  result, tries, _ = run(Retry(3), [busy() for _ in range(9)])
  assert isinstance(result, ServiceFault) and result.attempts == 3 and len(tries) == 3


def test_a_service_that_says_when_is_believed():
  _, _, waits = run(Retry(base=0.5), [busy(retry_after=7.0)])
  assert 7.0 <= waits[0] <= 7.5


def test_no_wait_goes_beyond_the_deadline():
  result, tries, waits = run(Retry(), [busy(retry_after=60.0)], until=30.0)
  assert isinstance(result, ServiceFault) and tries == [1] and not waits


def test_an_open_breaker_costs_neither_tries_nor_budget():
  shut = [ServiceFault('breaker', 'left alone', retry_after=1.0) for _ in range(6)]
  result, tries, _ = run(Retry(1, burst=0, budget=0.0), shut)
  assert result == 'done' and tries == [1] * 7


def test_a_brown_out_adds_at_most_the_budget():
  clock, sent = Clock(), 0

  async def attempt(_):
    nonlocal sent
    sent += 1
    raise ServiceFault('server', 'down')

  async def main():
    retries = Retries(Retry(budget=0.1, burst=5), sleep=clock.sleep, now=clock.now)
    for _ in range(1000):
      with pytest.raises(ServiceFault):
        await retries.run(attempt)
    return retries

  retries = asyncio.run(main())
  assert sent <= 1000 * 1.1 + 5 and retries.made == sent - 1000 and retries.denied > 800


def test_a_cancelled_call_is_not_tried_again():
  async def attempt(_):
    raise asyncio.CancelledError

  with pytest.raises(asyncio.CancelledError):
    asyncio.run(Retries().run(attempt))


@pytest.mark.parametrize('values', [{'attempts': 0}, {'base': -1.0}, {'budget': -0.1}])
def test_settings_that_cannot_work_are_config_errors(values):
  with pytest.raises(ConfigError):
    Retry(**values)


def test_a_breaker_opens_tries_one_call_and_doubles_its_pause():
  clock = Clock()
  breaker, down = Breaker(4, 0.75, 10.0, 25.0, now=clock.now), ServiceFault('server', 'down')

  def end(fault=None):
    assert breaker.admits()
    breaker.enter()
    breaker.leave(fault)

  for fault in (down, down, None, None, down):
    end(fault)
    assert breaker.state == 'closed'
  assert breaker.row == 1
  end(down)
  end(down)
  assert breaker.state == 'open' and not breaker.admits() and breaker.remaining == 10.0
  clock.time = 10.0
  assert breaker.state == 'half_open' and breaker.admits()
  breaker.enter()
  assert not breaker.admits()  # one call is the trial
  breaker.leave(down)
  assert breaker.remaining == 20.0 and breaker.trips == 2
  clock.time = 30.0
  end(down)
  assert breaker.remaining == 25.0
  clock.time = 55.0
  breaker.enter()
  breaker.abandon()
  end()
  assert breaker.state == 'closed' and breaker.row == 0


@pytest.mark.parametrize('cause', ['refused', 'busy', 'oversize'])
def test_faults_that_say_nothing_about_health_do_not_open_it(cause):
  breaker = Breaker(1)
  breaker.enter()
  breaker.leave(ServiceFault(cause, 'x'))
  assert breaker.state == 'closed'
