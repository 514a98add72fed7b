"""Terms of the user's own: a file outside the package whose `get_term()` returns a name and a measure."""

from llmi_jax.core.answer import Answer
from llmi_jax.core.errors import ConfigError
from llmi_jax.core.task import Task
from llmi_jax.rewards.facts import Measure
from llmi_jax.services import own


def load(path: str) -> tuple[str, Measure]:
  """The name of a file's term, and what measures it.

  Raises:
    ConfigError: there is no such file, it fails, or it makes no term.
  """
  made = own.make(path, 'get_term', 'config.reward.own')
  if not (isinstance(made, tuple) and len(made) == 2 and isinstance(made[0], str) and callable(made[1])):
    raise ConfigError(
      f'{path} has no get_term() that returns a name and a function of task and answer; '
      'docs/own_term.md shows one.'
    )
  name, measure = made

  def checked(task: Task, answer: Answer) -> tuple[float | None, str]:
    value, why = measure(task, answer)
    if value is not None and not 0 <= value <= 1:
      raise ConfigError(f'The term {name} of {path} is {value!r} for task {task.id}; make it lie in [0, 1].')
    return value, why

  return name, checked
