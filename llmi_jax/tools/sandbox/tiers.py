"""The ways to build the outer wall, strongest first."""

import shutil
from collections.abc import Callable

from llmi_jax.tools.sandbox.guest import confine
from llmi_jax.tools.sandbox.view import View

LAUNCHER = 'llmi_jax.tools.sandbox.guest.launcher'

# What the inside is told; nothing of this process's environment goes in.
ENVIRONMENT = {
  'HOME': confine.HOME,
  'LANG': 'C.UTF-8',
  'MPLBACKEND': 'Agg',
  'MPLCONFIGDIR': '/config',
  'OMP_NUM_THREADS': '1',
  'OPENBLAS_NUM_THREADS': '1',
  'PYTHONHASHSEED': '0',
}


def bubblewrap(view: View, settings: str) -> list[str] | None:
  """The command that runs the launcher inside bubblewrap, or None where it is not installed."""
  program = shutil.which('bwrap')
  if program is None:
    return None
  command = [
    program,
    '--unshare-all',
    '--unshare-user',
    '--uid',
    '65534',
    '--gid',
    '65534',
    '--die-with-parent',
  ]
  # The launcher makes namespaces for every job: it keeps one capability, inside its own user namespace.
  command += ['--new-session', '--as-pid-1', '--cap-drop', 'ALL', '--cap-add', 'CAP_SYS_ADMIN', '--clearenv']
  for name, value in ENVIRONMENT.items():
    command += ['--setenv', name, value]
  for outside, inside in view.binds:
    command += ['--ro-bind', outside, inside]
  for target, link in view.links:
    command += ['--symlink', target, link]
  command += ['--proc', '/proc', '--dir', '/dev', '--dev-bind', '/dev/null', '/dev/null']
  command += ['--size', str(16 << 20), '--tmpfs', '/config', '--dir', confine.HOME, '--remount-ro', '/']
  return [*command, '--chdir', '/', *view.command(LAUNCHER, settings)]


TIERS: tuple[tuple[str, Callable[[View, str], list[str] | None]], ...] = (('bubblewrap', bubblewrap),)
