"""The device thread streams in order, passes errors on and survives a consumer that leaves."""

import asyncio
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


def test_work_put_aside_runs_between_the_items_of_a_stream_and_keeps_its_errors_to_itself(device):
  go = threading.Event()

  def make():
    yield 'first'
    assert go.wait(10)
    yield 'second'
    assert go.wait(10)
    yield 'third'

  async def consume():
    seen = []
    async for item in device.stream(make):
      seen.append(item)
      if item == 'first':
        asides = [asyncio.ensure_future(device.aside(work)) for work in (threading.get_ident, lambda: 1 // 0)]
        await asyncio.sleep(0)
        go.set()
      if item == 'third':
        seen.append(asides[0].done())
    assert await asides[0] == await device.run(threading.get_ident)
    with pytest.raises(ZeroDivisionError):
      await asides[1]
    return seen

  assert asyncio.run(consume())[:3] == ['first', 'second', 'third']


def test_work_put_aside_runs_at_once_where_no_stream_is(device):
  assert asyncio.run(device.aside(lambda: 7)) == 7
