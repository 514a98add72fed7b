"""Judges of the user's own: a file outside the package whose `get_judges()` returns a list of `Judge`."""

from collections.abc import Sequence

from llmi_jax.core.errors import ConfigError
from llmi_jax.judges.judge import Judge
from llmi_jax.services import own


def load(path: str) -> Sequence[Judge]:
  """The judges that a file makes.

  Raises:
    ConfigError: there is no such file, it fails, or it makes no judges.
  """
  judges = own.make(path, 'get_judges', 'config.reward.judges')
  for judge in judges if isinstance(judges, (list, tuple)) else (None,):
    if not isinstance(judge, Judge):
      raise ConfigError(
        f'{path} has no get_judges() that returns a list of judges, each with a name and an async judge(); '
        'docs/own_judge.md shows one.'
      )
  return judges
