"""The ways to build the outer wall, strongest first."""

import dataclasses
import json
import shutil
from collections.abc import Callable

from llmi_jax.core.errors import SandboxError
from llmi_jax.tools.sandbox.guest import confine
from llmi_jax.tools.sandbox.view import View

# What the inside is told; nothing of this process's environment goes in.
ENVIRONMENT = {
  'HOME': confine.HOME,
  'LANG': 'C.UTF-8',
  'MPLBACKEND': 'Agg',
  'MPLCONFIGDIR': confine.CONFIG,
  'OMP_NUM_THREADS': '1',
  'OPENBLAS_NUM_THREADS': '1',
  'PYTHONHASHSEED': '0',
}


@dataclasses.dataclass(frozen=True)
class Start:
  """How to start a launcher: a command line and its whole environment."""

  command: list[str]
  environment: dict[str, str]


def bubblewrap(view: View, settings: str) -> Start:
  """The launcher inside bubblewrap.

  Raises:
    SandboxError: bubblewrap is not installed.
  """
  program = shutil.which('bwrap')
  if program is None:
    raise SandboxError('bwrap is not installed')
  command = [program, '--unshare-all', '--unshare-user', '--uid', '65534', '--gid', '65534']
  # The launcher makes namespaces for every job: it keeps one capability, inside its own user namespace.
  command += ['--die-with-parent', '--new-session', '--as-pid-1', '--cap-drop', 'ALL']
  command += ['--cap-add', 'CAP_SYS_ADMIN', '--clearenv']
  for name, value in ENVIRONMENT.items():
    command += ['--setenv', name, value]
  for outside, inside in view.binds:
    command += ['--ro-bind', outside, inside]
  for target, link in view.links:
    command += ['--symlink', target, link]
  command += ['--dir', '/dev', '--dev-bind', '/dev/null', '/dev/null', '--size', str(16 << 20)]
  command += ['--tmpfs', confine.CONFIG, '--dir', confine.HOME, '--remount-ro', '/', '--chdir', '/']
  # An empty environment: bubblewrap's own would be readable inside.
  return Start([*command, *view.command('launcher', settings)], {})


def namespaces(view: View, settings: str) -> Start:
  """The launcher inside a wall of our own, which needs no package."""
  wall = {'binds': view.binds, 'links': view.links, 'paths': view.paths, 'settings': settings}
  return Start(view.outside('jail', json.dumps(wall)), ENVIRONMENT)


TIERS: tuple[tuple[str, Callable[[View, str], Start]], ...] = (
  ('bubblewrap', bubblewrap),
  ('namespaces', namespaces),
)
