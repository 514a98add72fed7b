"""The device thread streams in order, passes errors on and survives a consumer that leaves."""

import asyncio
import itertools
import threading

import pytest

from llmi_jax.rollout.device import Device


@pytest.fixture
def device():
  device = Device()
  yield device
  device.close()


def test_work_runs_on_one_other_thread(device):
  async def ask():
    return [await device.run(threading.get_ident) for _ in range(3)]

  idents = set(asyncio.run(ask()))
  assert len(idents) == 1 and threading.get_ident() not in idents


def test_stream_yields_in_order_and_raises_what_the_work_raised(device):
  def make():
    yield from range(5)
    raise ValueError('broken')

  seen = []

  async def consume():
    async for item in device.stream(make):
      seen.append(item)

  with pytest.raises(ValueError, match='broken'):
    asyncio.run(consume())
  assert seen == [0, 1, 2, 3, 4]


def test_leaving_early_stops_the_work_and_frees_the_thread(device):
  made = []

  def make():
    for item in range(10_000):
      made.append(item)
      yield item

  async def consume():
    stream = device.stream(make)
    async for _ in stream:
      break
    await stream.aclose()
    return await device.run(lambda: 'free')

  assert asyncio.run(consume()) == 'free'
  assert len(made) < 10_000


def test_streams_take_turns_and_work_goes_between(device):
  order = []

  def make(name):
    def items():
      for number in range(50):
        order.append(name)
        yield number

    return items

  async def consume(name):
    return [item async for item in device.stream(make(name))]

  async def main():
    gate = threading.Event()
    held = asyncio.ensure_future(device.run(gate.wait))
    both = asyncio.gather(consume('a'), consume('b'), device.run(order.append, 'work'))
    await asyncio.sleep(0.01)
    gate.set()
    await held
    return (await both)[:2]

  assert asyncio.run(main()) == [list(range(50))] * 2
  assert order.index('work') <= 2
  assert (
    sum(one != other for one, other in itertools.pairwise(order)) > 90
  )  # neither waits for the other's end


def test_a_stream_alone_and_one_that_fails_leave_the_thread_free(device):
  async def fail():
    def make():
      yield 1
      raise ValueError('broken')

    return [item async for item in device.stream(make)]

  async def main():
    return await asyncio.gather(
      fail(), *(device.run(lambda n=n: n) for n in range(3)), return_exceptions=True
    )

  failed, *rest = asyncio.run(main())
  assert isinstance(failed, ValueError) and rest == [0, 1, 2]
