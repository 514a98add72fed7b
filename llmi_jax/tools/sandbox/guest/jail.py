"""The outer wall where bubblewrap is not installed: the same view, built with the kernel's own calls.

Needs user namespaces and Linux 5.12. Runs before the launcher, in the same process, which never sees the
machine's files again once `main` has let them go.
"""

import json
import os
import pathlib
import sys

from llmi_jax.tools.sandbox.guest import confine, kernel, launcher

_USER = 65534
_OLD, _NEW = '/old', '/new'


def main():
  """Builds the wall described on the command line and becomes the launcher inside it."""
  wall = json.loads(sys.argv[1])
  # Links are followed while the machine's own root is still the root.
  binds = [(os.path.realpath(outside), inside) for outside, inside in wall['binds']]
  _enter_namespaces()
  _leave_root()
  for outside, inside in binds:
    _show(outside, inside)
  for target, link in wall['links']:
    pathlib.Path(_NEW + link).parent.mkdir(parents=True, exist_ok=True)
    os.symlink(target, _NEW + link)
  _furnish()
  _enter_root()
  kernel.keep_capability(kernel.CAP_SYS_ADMIN)
  sys.path[:] = wall['paths']
  sys.argv[1] = wall['settings']
  launcher.main()


def _enter_namespaces():
  """New namespaces of every kind; returns in their first process."""
  user, group = os.getuid(), os.getgid()
  spaces = (
    kernel.NEW_NS | kernel.NEW_PID | kernel.NEW_NET | kernel.NEW_IPC | kernel.NEW_UTS | kernel.NEW_CGROUP
  )
  kernel.unshare(kernel.NEW_USER | spaces)
  for name, text in (
    ('setgroups', 'deny'),
    ('uid_map', f'{_USER} {user} 1'),
    ('gid_map', f'{_USER} {group} 1'),
  ):
    pathlib.Path('/proc/self', name).write_text(text)
  child = os.fork()
  if child:
    kernel.die_with_parent()
    os.dup2(os.open('/dev/null', os.O_RDWR), 0)  # only the launcher may hold the control socket
    _, status = os.waitpid(child, 0)
    os._exit(os.waitstatus_to_exitcode(status) & 0xFF)


def _leave_root():
  """Makes an empty root; the machine's is below `/old`."""
  kernel.mount('', '/', flags=kernel.MS_REC | kernel.MS_PRIVATE)
  kernel.mount('tmpfs', '/tmp', 'tmpfs', kernel.MS_NOSUID | kernel.MS_NODEV, 'size=1m,mode=755')
  os.mkdir('/tmp' + _OLD)
  os.mkdir('/tmp' + _NEW)
  kernel.pivot_root('/tmp', '/tmp' + _OLD)
  os.chdir('/')
  kernel.mount('tmpfs', _NEW, 'tmpfs', kernel.MS_NOSUID | kernel.MS_NODEV, 'size=4m,mode=755')


def _show(outside: str, inside: str, readonly: bool = True):
  """Binds a file or folder of the machine, with what is mounted below it."""
  source, target = pathlib.Path(_OLD + outside), pathlib.Path(_NEW + inside)
  target.parent.mkdir(parents=True, exist_ok=True)
  if source.is_dir():
    target.mkdir(exist_ok=True)
  else:
    target.touch()
  kernel.mount(str(source), str(target), flags=kernel.MS_BIND | kernel.MS_REC)
  if readonly:
    kernel.make_readonly(str(target))


def _furnish():
  """The few places that are no binds."""
  _show('/dev/null', '/dev/null', readonly=False)
  for folder in (confine.CONFIG, confine.HOME):
    os.mkdir(_NEW + folder)
  kernel.mount(
    'tmpfs', _NEW + confine.CONFIG, 'tmpfs', kernel.MS_NOSUID | kernel.MS_NODEV, 'size=16m,mode=755'
  )


def _enter_root():
  """Makes the new root the root, read-only, and lets go of everything else."""
  os.chdir(_NEW)
  kernel.pivot_root('.', '.')
  kernel.unmount('.')
  os.chdir('/')
  kernel.mount(
    '', '/', flags=kernel.MS_REMOUNT | kernel.MS_BIND | kernel.MS_RDONLY | kernel.MS_NOSUID | kernel.MS_NODEV
  )
