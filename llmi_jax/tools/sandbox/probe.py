"""Run inside at start-up: escape attempts, all of which must fail, and a drawing, which must not."""

import contextlib
import os
import secrets
import socket
import tempfile
from collections.abc import Iterator

HELD = 'held'
# A sign that no font has sends matplotlib for files that it has not opened before.
DRAWING = "plt.plot([1, 2])\nplt.title('\\U000f0000')"

# Runs in a job. Names what worked; prints `held` if nothing did. Plain system calls stand beside Python's own
# functions, since a job may well call the kernel by itself.
_ATTEMPTS = """
import ctypes, os, signal, socket
libc = ctypes.CDLL(None, use_errno=True)
escaped = []

def attempt(name, function):
  try:
    worked = function()
  except (OSError, RuntimeError, ValueError):
    worked = False
  if worked:
    escaped.append(name)

def syscall(number):
  # Senseless arguments: a call that gets through fails for another reason than a refused one.
  return libc.syscall(number, *[ctypes.c_long(-1)] * 6) >= 0 or ctypes.get_errno() not in (1, 38)

def secret(path):
  with open(path) as file:
    return CANARY in file.read()

def connect(family, address):
  with socket.socket(family, socket.SOCK_STREAM) as stream:
    stream.settimeout(1)
    stream.connect(address)
  return True

def write(path):
  with open(path, 'w') as file:
    file.write('x')
  os.unlink(path)
  return True

attempt('reads a file outside', lambda: secret(PATH))
attempt('reads a file outside by descriptor', lambda: any(
  CANARY.encode() in os.pread(fd, 4096, 0) for fd in range(4, 64) if os.fstat(fd)))
attempt('sees the environment', lambda: any(CANARY in value for value in os.environ.values()))
attempt('sees other processes', lambda: os.path.exists('/proc/1/environ'))
for family in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX, 16, 17, 38, 40):
  attempt(f'opens a socket of family {family}', lambda: socket.socket(family, socket.SOCK_STREAM))
attempt('connects to the machine', lambda: connect(socket.AF_INET, ('127.0.0.1', PORT)))
attempt('forks', lambda: os.fork() or os._exit(0))
attempt('starts a program', lambda: os.posix_spawn('/bin/true', ['true'], {}))
attempt('signals its parent', lambda: os.kill(os.getppid(), 0) or True)
attempt('signals everybody', lambda: os.kill(-1, 0) or True)
for path in ('/x', '/usr/x', '/guest/x', '/config/x', '/dev/x'):
  attempt(f'writes {path}', lambda: write(path))
for name, number in NUMBERS.items():
  attempt(f'calls {name}', lambda: syscall(number))
attempt('makes pages executable', lambda: libc.mprotect(ctypes.c_void_p(id(0) & ~4095), 4096, 7) == 0)
print('; '.join(escaped) or HELD)
"""

_NUMBERS = {
  'x86_64': {
    'ptrace': 101,
    'mount': 165,
    'unshare': 272,
    'setns': 308,
    'bpf': 321,
    'io_uring_setup': 425,
    'keyctl': 250,
    'memfd_create': 319,
    'userfaultfd': 323,
    'perf_event_open': 298,
    'socketpair': 53,
    'execveat': 322,
    'shmget': 29,
    'personality': 135,
    'setuid': 105,
  },
  'aarch64': {
    'ptrace': 117,
    'mount': 40,
    'unshare': 97,
    'setns': 268,
    'bpf': 280,
    'io_uring_setup': 425,
    'keyctl': 219,
    'memfd_create': 279,
    'userfaultfd': 282,
    'perf_event_open': 241,
    'socketpair': 199,
    'execveat': 281,
    'shmget': 194,
    'personality': 92,
    'setuid': 146,
  },
}


@contextlib.contextmanager
def canaries() -> Iterator[str]:
  """Puts out what an escape would find, and yields the code that looks for it."""
  canary = secrets.token_hex(16)
  with (
    tempfile.NamedTemporaryFile('w', suffix='.canary') as file,
    socket.create_server(('127.0.0.1', 0)) as server,
  ):
    file.write(canary)
    file.flush()
    names = {
      'CANARY': canary,
      'PATH': file.name,
      'PORT': server.getsockname()[1],
      'NUMBERS': _NUMBERS[os.uname().machine],
      'HELD': HELD,
    }
    yield ''.join(f'{name} = {value!r}\n' for name, value in names.items()) + _ATTEMPTS
