"""The system calls that a job may make once everything is imported: a list of what is allowed.

Everything else fails with EPERM: no process or thread is made (so no fork bomb and no daemon), no program
started, no socket opened, no page made executable, nobody signalled or traced, nothing mounted.
"""

import errno
import platform
import struct

_PROT_EXEC = 4
ARCHITECTURES = {'x86_64': 0xC000003E, 'aarch64': 0xC00000B7}

# (x86_64, aarch64); None where the architecture has no such call.
_ALLOWED = {
  'read': (0, 63),
  'write': (1, 64),
  'open': (2, None),
  'close': (3, 57),
  'stat': (4, None),
  'fstat': (5, 80),
  'lstat': (6, None),
  'poll': (7, None),
  'lseek': (8, 62),
  'munmap': (11, 215),
  'brk': (12, 214),
  'rt_sigaction': (13, 134),
  'rt_sigprocmask': (14, 135),
  'rt_sigreturn': (15, 139),
  'pread64': (17, 67),
  'pwrite64': (18, 68),
  'readv': (19, 65),
  'writev': (20, 66),
  'access': (21, None),
  'sched_yield': (24, 124),
  'mremap': (25, 216),
  'madvise': (28, 233),
  'dup': (32, 23),
  'nanosleep': (35, 101),
  'getpid': (39, 172),
  'exit': (60, 93),
  'uname': (63, 160),
  'fcntl': (72, 25),
  'fsync': (74, 82),
  'fdatasync': (75, 83),
  'ftruncate': (77, 46),
  'getdents64': (217, 61),
  'getcwd': (79, 17),
  'chdir': (80, 49),
  'rename': (82, None),
  'mkdir': (83, None),
  'rmdir': (84, None),
  'unlink': (87, None),
  'readlink': (89, None),
  'gettimeofday': (96, 169),
  'getrusage': (98, 165),
  'sysinfo': (99, 179),
  'times': (100, 153),
  'getuid': (102, 174),
  'getgid': (104, 176),
  'geteuid': (107, 175),
  'getegid': (108, 177),
  'getppid': (110, 173),
  'sigaltstack': (131, 132),
  'gettid': (186, 178),
  'time': (201, None),
  'futex': (202, 98),
  'sched_getaffinity': (204, 123),
  'clock_gettime': (228, 113),
  'clock_getres': (229, 114),
  'clock_nanosleep': (230, 115),
  'exit_group': (231, 94),
  'openat': (257, 56),
  'mkdirat': (258, 34),
  'newfstatat': (262, 79),
  'unlinkat': (263, 35),
  'renameat': (264, 38),
  'readlinkat': (267, 78),
  'faccessat': (269, 48),
  'ppoll': (271, 73),
  'getcpu': (309, 168),
  'renameat2': (316, 276),
  'getrandom': (318, 278),
  'statx': (332, 291),
  'rseq': (334, 293),
  'faccessat2': (439, 439),
}
_MAPPING = {'mmap': (9, 222), 'mprotect': (10, 226)}  # allowed without PROT_EXEC
_OTHER_ERRNO = {
  'ioctl': ((16, 29), errno.ENOTTY),  # Python asks of every file whether it is a terminal
  'clone3': ((435, 435), errno.ENOSYS),
}

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_NUMBER, _ARCHITECTURE, _THIRD_ARGUMENT = 0, 4, 32


def program() -> bytes:
  """The filter as BPF for this machine's architecture, one of `ARCHITECTURES`."""
  machine = platform.machine()
  column = list(ARCHITECTURES).index(machine)
  code = [
    (_LOAD, 0, 0, _ARCHITECTURE),
    (_EQUAL, 1, 0, ARCHITECTURES[machine]),
    (_RETURN, 0, 0, _KILL),
    (_LOAD, 0, 0, _NUMBER),
  ]
  if machine == 'x86_64':
    code += [(_AT_LEAST, 0, 1, 0x40000000), (_RETURN, 0, 0, _KILL)]  # the x32 calls
  for numbers in _ALLOWED.values():
    if numbers[column] is not None:
      code += [(_EQUAL, 0, 1, numbers[column]), (_RETURN, 0, 0, _ALLOW)]
  for numbers in _MAPPING.values():
    code += [
      (_EQUAL, 0, 4, numbers[column]),
      (_LOAD, 0, 0, _THIRD_ARGUMENT),
      (_ANY_BIT, 0, 1, _PROT_EXEC),
      (_RETURN, 0, 0, _ERRNO | errno.EPERM),
      (_RETURN, 0, 0, _ALLOW),
    ]
  for numbers, code_number in _OTHER_ERRNO.values():
    code += [(_EQUAL, 0, 1, numbers[column]), (_RETURN, 0, 0, _ERRNO | code_number)]
  code.append((_RETURN, 0, 0, _ERRNO | errno.EPERM))
  return b''.join(struct.pack('<HBBI', *instruction) for instruction in code)
