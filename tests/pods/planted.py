"""A run in which the second process fails on the host, while responses of its second step are judged."""

import jax

from llmi_jax import front
from llmi_jax.core.errors import StorageError
from llmi_jax.main import main
from llmi_jax.rollout import rollout

finish = rollout.finish


async def failing(task, turn, writing, place, *rest):
  if jax.process_index() == 1 and place.stream == 'train' and place.step == 1:
    raise StorageError('The planted disk is full.')
  return await finish(task, turn, writing, place, *rest)


if __name__ == '__main__':
  rollout.finish = failing
  front.run(main)
