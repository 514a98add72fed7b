"""Which tasks a step asks: a function of seed and step, so a run resumes by its step number alone."""

from collections.abc import Sequence

from llmi_jax.core.errors import ConfigError
from llmi_jax.core.task import Task


class Batching:
  """Shuffled batches without end, by random access (Grain).

  Every epoch has its own order; what does not fill a batch is left out of that epoch, so no task stands twice
  in a step.
  """

  def __init__(self, tasks: Sequence[Task], size: int, seed: int):
    """Prepares the order; nothing is read ahead.

    Args:
      tasks: at least `size`.
      size: tasks per step.
      seed: of the order.

    Raises:
      ConfigError: there are fewer tasks than a step asks.
    """
    import grain  # seconds to import

    if not 0 < size <= len(tasks):
      raise ConfigError(f'A step asks {size} prompts, but there are {len(tasks)} tasks; ask fewer per step.')
    self._steps_per_epoch = len(tasks) // size
    indices = grain.MapDataset.source(range(len(tasks))).shuffle(seed=seed)
    self._batches = indices.batch(size, drop_remainder=True, batch_fn=list).repeat()
    self._tasks = tuple(tasks)

  def step(self, number: int) -> tuple[Task, ...]:
    """The tasks of a step, counted from 0."""
    indices = self._batches[number]
    assert indices is not None  # Grain's word for an element that was filtered out; nothing is here
    return tuple(self._tasks[index] for index in indices)

  def epoch(self, number: int) -> int:
    """The epoch that a step lies in, counted from 0."""
    return number // self._steps_per_epoch
