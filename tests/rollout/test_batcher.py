"""Replies that cannot be made are told to those who wait for them."""

import asyncio

import numpy as np
import pytest

from llmi_jax.core.errors import ConfigError
from llmi_jax.core.prompt import Prompt
from llmi_jax.rollout.batcher import Batcher, Job
from llmi_jax.rollout.device import Device
from llmi_jax.rollout.sight import Sight


def test_an_engine_that_cannot_be_made_is_told_to_all_who_want_it():
  made = []

  def make(temperature):
    made.append(temperature)
    raise ConfigError('There is no such engine.')

  async def main():
    device = Device()
    batcher = Batcher(device, make, None, Sight(), 'serve')
    working = asyncio.ensure_future(batcher.run())
    try:
      jobs = [Job(Prompt(np.ones(3, np.int32), 'abc'), 0, 4, 1.0) for _ in range(3)]
      for job in jobs:
        batcher.submit(job)
      for job in jobs:
        with pytest.raises(ConfigError, match='no such engine'):
          await asyncio.wait_for(job.last(), 30)
      assert not working.done()
    finally:
      working.cancel()
      await asyncio.gather(working, return_exceptions=True)
      device.close()

  asyncio.run(main())
  assert made == [1.0]
