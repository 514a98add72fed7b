"""Linux calls that Python's `os` lacks, by number through ctypes."""

import ctypes
import os
import platform
import struct

NEW_NS, NEW_CGROUP, NEW_UTS, NEW_IPC = 0x20000, 0x2000000, 0x4000000, 0x8000000
NEW_USER, NEW_PID, NEW_NET = 0x10000000, 0x20000000, 0x40000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8
MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 32, 4096, 16384, 1 << 18
MNT_DETACH = 2
CAP_SYS_ADMIN = 21

_PR_SET_PDEATHSIG, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS = 1, 24, 38
_PR_SET_DUMPABLE, _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 4, 47, 4
_CLONE_VM = 0x100
_CAPABILITY_VERSION = 0x20080522
_MOUNT_SETATTR, _AT_FDCWD, _AT_RECURSIVE = 442, -100, 0x8000
_ATTR_RDONLY, _ATTR_NOSUID, _ATTR_NODEV = 1, 2, 4
_LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT = 444, 445, 446
_NUMBERS = {
  'x86_64': {'capset': 126, 'pivot_root': 155, 'close_range': 436},
  'aarch64': {'capset': 91, 'pivot_root': 41, 'close_range': 436},
}

_libc = ctypes.CDLL(None, use_errno=True)


def _number(name: str) -> int:
  return _NUMBERS[platform.machine()][name]


def _checked(result: int, what: str) -> int:
  if result < 0:
    code = ctypes.get_errno()
    raise OSError(code, f'{what}: {os.strerror(code)}')
  return result


def unshare(flags: int):
  _checked(_libc.unshare(flags), 'unshare')


def setns(descriptor: int, kind: int):
  _checked(_libc.setns(descriptor, kind), 'setns')


def mount(source: str, target: str, kind: str = '', flags: int = 0, options: str = ''):
  arguments = [text.encode() if text else None for text in (source, target, kind)]
  _checked(_libc.mount(*arguments, flags, options.encode() or None), f'mount {target}')


def unmount(target: str):
  _checked(_libc.umount2(target.encode(), MNT_DETACH), f'umount {target}')


def pivot_root(new: str, old: str):
  _checked(_libc.syscall(_number('pivot_root'), new.encode(), old.encode()), 'pivot_root')


def close_from(first: int):
  _checked(_libc.syscall(_number('close_range'), first, 0xFFFFFFFF, 0), 'close_range')


def die_with_parent():
  _checked(_libc.prctl(_PR_SET_PDEATHSIG, 9, 0, 0, 0), 'PR_SET_PDEATHSIG')


def single_threaded() -> bool:
  """Whether this process has one thread; asks the kernel, which needs no /proc."""
  return _libc.unshare(_CLONE_VM) == 0


def make_readonly(target: str):
  """Makes a mount and all below it read-only, without set-uid files and devices."""
  attributes = struct.pack('<QQQQ', _ATTR_RDONLY | _ATTR_NOSUID | _ATTR_NODEV, 0, 0, 0)
  result = _libc.syscall(_MOUNT_SETATTR, _AT_FDCWD, target.encode(), _AT_RECURSIVE, attributes, 32)
  _checked(result, f'mount_setattr {target}')


def keep_capability(capability: int):
  """Drops every capability but one."""
  low = 1 << capability
  header, sets = struct.pack('=Ii', _CAPABILITY_VERSION, 0), struct.pack('=6I', low, low, 0, 0, 0, 0)
  _checked(_libc.syscall(_number('capset'), header, sets), 'capset')


def drop_capabilities():
  """Empties every capability set for good: no exec and no set-uid file brings one back."""
  for capability in range(64):
    if _libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0) < 0:
      break  # beyond the last one that this kernel knows
  _libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
  header, none = struct.pack('=Ii', _CAPABILITY_VERSION, 0), bytes(24)
  _checked(_libc.syscall(_number('capset'), header, none), 'capset')
  _checked(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 'PR_SET_NO_NEW_PRIVS')


def undumpable():
  """Neither a core file nor a tracer of equal uid gets at this process's memory."""
  _checked(_libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0), 'PR_SET_DUMPABLE')


def load_filter(program: bytes):
  """Installs a seccomp program for this thread; it cannot be taken off again."""

  class Program(ctypes.Structure):
    _fields_ = (('length', ctypes.c_ushort), ('filter', ctypes.c_void_p))

  buffer = ctypes.create_string_buffer(program, len(program))
  wrapped = Program(len(program) // 8, ctypes.addressof(buffer))
  _checked(_libc.prctl(22, 2, ctypes.byref(wrapped), 0, 0), 'seccomp')


def landlock_version() -> int:
  """The kernel's Landlock ABI; 0 where there is none."""
  return max(0, _libc.syscall(_LANDLOCK_CREATE, None, 0, 1))


def landlock(readable: list[str], writable: list[str]):
  """Denies all file access but reading below `readable` and anything below `writable`; and TCP."""
  version = landlock_version()
  if not version:
    return
  files = (1 << 13) - 1
  files |= sum(1 << bit for least, bit in ((2, 13), (3, 14), (5, 15)) if version >= least)
  network = 3 if version >= 4 else 0
  scopes = 3 if version >= 6 else 0
  rules = struct.pack('<QQQ', files, network, scopes)
  size = 8 if version < 4 else 16 if version < 6 else 24
  ruleset = _checked(_libc.syscall(_LANDLOCK_CREATE, rules, size, 0), 'landlock_create_ruleset')
  for paths, access in ((readable, 4 | 8), (writable, files & ~1)):
    for path in paths:
      descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
      rule = struct.pack('<Qi', access, descriptor)
      _checked(_libc.syscall(_LANDLOCK_ADD, ruleset, 1, rule, 0), f'landlock_add_rule {path}')
      os.close(descriptor)
  _checked(_libc.syscall(_LANDLOCK_RESTRICT, ruleset, 0), 'landlock_restrict_self')
  os.close(ruleset)
