"""The error vocabulary: what an entry point prints in one sentence and exits on.

A bad tag, a tool without a hit or a dead judge is not an error but data: see `outcome` and `verdict`.
"""


class LlmiError(Exception):
  """A problem the user can mend. The message is one sentence: the culprit, then the mend."""


class ConfigError(LlmiError):
  """A config key, value or combination that cannot work."""


class DataError(LlmiError):
  """A task file, row, picture or answer that cannot be read."""


class WeightsError(LlmiError):
  """Weights, tokenizer or processor that are broken or do not belong together."""


class CheckpointError(LlmiError):
  """A checkpoint that is corrupt, incomplete or from another run."""


class StorageError(LlmiError):
  """The work folder cannot be written: no space, no permission, an I/O error."""


class SandboxError(LlmiError):
  """No sandbox tier holds on this machine, so model-written code must not run."""


class ShardingError(LlmiError):
  """A parameter axis and the mesh do not fit."""


class TrainingError(LlmiError):
  """Training cannot go on: every row unscorable, gradients not finite."""


class Interrupted(LlmiError):
  """The run was asked to stop; its state is saved and the same command resumes it."""


def told(group: BaseExceptionGroup[BaseException]) -> BaseException:
  """What to raise for failures beside each other: the first that a user can mend, which the front door knows;
  else the first."""
  known = [error for error in group.exceptions if isinstance(error, LlmiError)]
  return (known or group.exceptions)[0]
