"""Shuts a job in, from inside: namespaces, limits, no capabilities, the filter. There is no way back."""

import contextlib
import os
import resource

from llmi_jax.tools.sandbox.guest import kernel, seccomp

MEMORY = 2 << 30
FILE_BYTES = 32 << 20
FOLDER_BYTES = 64 << 20
FOLDER_FILES = 2_000
OPEN_FILES = 256
HOME = '/tmp'
CONFIG = '/config'


def confine(reply: int, cpu: float):
  """Leaves this process with one descriptor, `reply`, and a private folder.

  Call it in a child that is the first process of a new pid namespace.

  Args:
    reply: the pipe to the host; becomes descriptor 3.
    cpu: processor seconds that are left to it.
  """
  os.setsid()
  kernel.unshare(kernel.NEW_NS | kernel.NEW_NET | kernel.NEW_IPC | kernel.NEW_UTS)
  flags = kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC
  kernel.mount('tmpfs', HOME, 'tmpfs', flags, f'size={FOLDER_BYTES},nr_inodes={FOLDER_FILES},mode=700')
  kernel.unmount(CONFIG)  # what one job wrote there, the next would read
  os.chdir(HOME)
  null = os.open('/dev/null', os.O_RDWR)
  for standard in range(3):
    os.dup2(null, standard)
  os.dup2(reply, 3)
  kernel.close_from(4)
  _limit(cpu)
  kernel.drop_capabilities()
  kernel.die_with_parent()
  kernel.landlock(['/'], [HOME])
  kernel.load_filter(seccomp.program())


def _limit(cpu: float):
  seconds = max(1, round(cpu))
  limits = {
    resource.RLIMIT_AS: MEMORY,
    resource.RLIMIT_CPU: seconds,
    resource.RLIMIT_FSIZE: FILE_BYTES,
    resource.RLIMIT_NOFILE: OPEN_FILES,
    resource.RLIMIT_NPROC: 0,
    resource.RLIMIT_CORE: 0,
    resource.RLIMIT_MEMLOCK: 0,
    resource.RLIMIT_MSGQUEUE: 0,
  }
  for kind, value in limits.items():
    with contextlib.suppress(ValueError):  # an inherited hard limit is lower still
      resource.setrlimit(kind, (value, value))
