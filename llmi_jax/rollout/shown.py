"""Samples as sinks show them."""

from llmi_jax.core.trajectory import Trajectory
from llmi_jax.sinks.sink import Shown


def shown(trajectory: Trajectory) -> Shown:
  """Request, response and reward as plain text, and the pictures of the answer."""
  reward = 'unscorable' if trajectory.reward is None else f'{trajectory.reward:.3f}'
  words = (
    f'Reward {reward}, advantage {trajectory.advantage:.3f}.',
    f'Request: {trajectory.task.question}',
    f'Response: {trajectory.turns[-1].text}',
  )
  images = [picture.image for picture in trajectory.answer.pictures]
  return Shown(trajectory.id, '\n\n'.join(words), tuple((i.png, i.width, i.height) for i in images))
