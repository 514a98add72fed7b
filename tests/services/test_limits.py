import asyncio
import time

import pytest

from llmi_jax.core.errors import ConfigError
from llmi_jax.services.limits import Gate, Limit, Overdue, Rate, deadline


def test_only_so_many_are_let_through_at_once():
  running = most = 0

  async def one(gate):
    nonlocal running, most
    async with gate.enter():
      running += 1
      most = max(most, running)
      await asyncio.sleep(0.01)
      running -= 1

  async def main():
    gate = Gate(Limit(3, 10))
    await asyncio.gather(*(one(gate) for _ in range(12)))

  asyncio.run(main())
  assert most == 3


def test_a_call_is_stopped_at_its_deadline_which_is_a_monotonic_reading():
  async def main():
    async with Gate(Limit(1, 0.05)).enter() as end:
      assert 0 < end - time.monotonic() <= 0.05
      await asyncio.sleep(10)

  start = time.monotonic()
  with pytest.raises(Overdue):
    asyncio.run(main())
  assert time.monotonic() - start < 8


def test_the_callers_deadline_also_bounds_the_waiting():
  async def main():
    gate = Gate(Limit(1, 10))
    async with gate.enter():
      async with gate.enter(until=time.monotonic() + 0.05):
        pass

  with pytest.raises(Overdue):
    asyncio.run(main())


def test_a_timeout_from_inside_stays_what_it_is():
  async def main():
    async with deadline(time.monotonic() + 5):
      raise TimeoutError('mine')

  with pytest.raises(TimeoutError, match='mine'):
    asyncio.run(main())


def test_a_place_is_given_back_after_a_failure():
  async def main():
    gate = Gate(Limit(1, 0.02))
    for _ in range(3):
      with pytest.raises(Overdue):
        async with gate.enter():
          await asyncio.sleep(1)

  asyncio.run(main())


@pytest.mark.parametrize('limit', [(0, 1), (1, 0), (1, 1, -1), (1, float('nan'))])
def test_limits_that_cannot_work_are_config_errors(limit):
  with pytest.raises(ConfigError):
    Limit(*limit)


def test_only_so_many_start_within_any_window():
  starts = []

  async def one(rate):
    await rate.permit()
    starts.append(time.monotonic())

  async def main():
    rate = Rate(4, 0.2)
    await asyncio.gather(*(one(rate) for _ in range(10)))

  asyncio.run(main())
  # The n-th and the n+4th start stand a window apart, up to the clock's grain.
  assert all(later - earlier >= 0.19 for earlier, later in zip(starts, starts[4:]))


def test_a_gate_asks_its_rate():
  async def main():
    gate = Gate(Limit(8, 5, per_minute=1))
    async with gate.enter():
      pass
    async with gate.enter(until=time.monotonic() + 0.05):
      pass

  with pytest.raises(Overdue):
    asyncio.run(main())


@pytest.mark.parametrize(('processes', 'concurrency', 'per_minute'), [(1, 8, 60), (3, 2, 20), (100, 1, 1)])
def test_a_share_of_a_limit_is_never_nothing(processes, concurrency, per_minute):
  found = Limit(8, 5.0, 60).share(processes)
  assert (found.concurrency, found.seconds, found.per_minute) == (concurrency, 5.0, per_minute)
  assert Limit(8, 5.0).share(processes).per_minute == 0
