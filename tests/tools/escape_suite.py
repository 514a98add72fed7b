"""The escape suite: every line is run inside the sandbox and names what it reached.

    python -m tests.tools.escape_suite TIER     →  {"name of the line": ["reached", "error"], …} on standard
    output

A line prints `reached` if the attack worked. The runner is a program of its own, so that it can be run as
another user.
"""

import asyncio
import json
import os
import secrets
import socket
import sys
import tempfile
import textwrap
from typing import Any

from llmi_jax.tools.sandbox import tiers
from llmi_jax.tools.sandbox.host import Figures, Sandbox

# `attempt(f)` prints `reached` if f() returns something true; refusals are what is hoped for.
_HEAD = """
import ctypes, os, socket, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
def attempt(function, *arguments):
  try:
    if function(*arguments):
      print('reached')
  except (OSError, RuntimeError, ValueError, MemoryError, ImportError, AttributeError):
    pass
def syscall(number, *arguments):
  result = libc.syscall(number, *[ctypes.c_long(a) if isinstance(a, int) else a for a in arguments])
  return result >= 0 or ctypes.get_errno() not in (1, 38)
X86 = os.uname().machine == 'x86_64'
"""


def lines(secret: str, path: str, port: int, unix: str) -> dict[str, str]:
  """Name → code. `secret` is in the file `path` and in the environment; `port` and `unix` are listened on."""
  return {
    'dunder and subclasses': f"""
      for kind in ().__class__.__base__.__subclasses__():
        if kind.__name__ == 'Popen':
          attempt(lambda: kind(['/bin/true']).wait() == 0)
      loader = type(__import__('importlib').machinery.SourceFileLoader)
      attempt(lambda: {secret!r} in open({path!r}).read())
    """,
    'ctypes calls libc': f"""
      attempt(lambda: libc.open({path.encode()!r}, 0) >= 0)
      attempt(lambda: libc.system(b'true') == 0)
      attempt(lambda: libc.fork() > 0)
    """,
    'environment of pid 1': f"""
      for pid in (1, os.getpid(), os.getppid()):
        attempt(lambda: {secret!r} in open(f'/proc/{{pid}}/environ').read())
      attempt(lambda: {secret!r} in str(dict(os.environ)))
      environ = ctypes.POINTER(ctypes.c_char_p).in_dll(libc, 'environ')
      attempt(lambda: any({secret.encode()!r} in (environ[i] or b'') for i in range(3)))
    """,
    'memory through proc': """
      attempt(lambda: open('/proc/self/mem', 'r+b'))
      attempt(lambda: os.listdir('/proc'))
      attempt(lambda: syscall(310 if X86 else 270, os.getpid(), 0, 0, 0, 0, 0))
      attempt(lambda: syscall(311 if X86 else 271, os.getpid(), 0, 0, 0, 0, 0))
    """,
    'inherited descriptors': f"""
      attempt(lambda: os.listdir('/proc/self/fd'))
      for fd in range(4, 512):
        attempt(lambda: os.fstat(fd))
      attempt(lambda: {secret.encode()!r} in os.pread(3, 4096, 0))
    """,
    'TCP, UDP and raw sockets': f"""
      for family in (socket.AF_INET, socket.AF_INET6):
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW):
          attempt(socket.socket, family, kind)
      attempt(lambda: socket.create_connection(('127.0.0.1', {port}), 1))
      attempt(lambda: socket.create_server(('127.0.0.1', 0)))
    """,
    'names and the metadata address': """
      attempt(lambda: socket.getaddrinfo('example.com', 80))
      attempt(lambda: socket.create_connection(('169.254.169.254', 80), 1))
    """,
    'unix sockets, by name and by path': f"""
      for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET):
        attempt(lambda: socket.socket(socket.AF_UNIX, kind).connect({unix!r}) or True)
        attempt(lambda: socket.socket(socket.AF_UNIX, kind).connect(chr(0) + 'llmi') or True)
      attempt(socket.socketpair)
    """,
    'netlink, vsock, packets and kernel crypto': """
      for family in (16, 17, 38, 40, 44, 29, 31):
        for kind in (1, 2, 3, 5):
          attempt(socket.socket, family, kind)
    """,
    'writes outside': """
      for name in ('/x', '/usr/x', '/etc/x', '/guest/x', '/config/x', '/dev/x', '/dev/shm/x', '../x'):
        attempt(lambda: open(name, 'w'))
      attempt(lambda: os.mkdir('/new') or True)
      attempt(lambda: os.rename('/guest', '/gone') or True)
      attempt(lambda: open(os.__file__, 'a'))
    """,
    'symbolic links as pictures': f"""
      for number, target in enumerate(({path!r}, '../../etc/shadow', '/', '/dev/zero')):
        attempt(lambda: os.symlink(target, f'{{number}}.png') or False)
      attempt(lambda: {secret!r} in open('0.png').read())
    """,
    'a FIFO, a device, a folder or a hard link as a picture': """
      attempt(lambda: os.mkfifo('f.png') or True)
      attempt(lambda: os.mknod('d.png', 0o60666, os.makedev(8, 0)) or True)
      attempt(lambda: os.link(os.__file__, 'h.png') or True)
      attempt(lambda: os.mkdir('m.png') and False)
    """,
    'mounts and a new root': """
      for number in (*((165, 166, 155, 161) if X86 else (40, 39, 41, 51)), 428, 429, 430, 432, 442):
        attempt(syscall, number, -1, -1, -1, -1, -1)
      attempt(lambda: os.chroot('.') or True)
    """,
    'namespaces inside': """
      for flags in (0x10000000, 0x20000, 0x40000000, 0x20000000, 0):
        attempt(lambda: libc.unshare(flags) == 0)
      attempt(syscall, 308 if X86 else 268, -1, 0)
      attempt(syscall, 435, 0, 0)
    """,
    'tracing others and pid 1': """
      for request in (0, 16, 0x4206):
        for pid in (0, 1, 2, os.getppid()):
          attempt(syscall, 101 if X86 else 117, request, pid, 0, 0)
      attempt(syscall, 434, 1, 0)
      attempt(syscall, 438, 3, 0, 0)
    """,
    'signals': """
      for pid in (-1, 0, 1, 2, os.getppid()):
        for number in (0, 9, 15, 19):
          attempt(lambda: os.kill(pid, number) or True)
      attempt(lambda: os.killpg(0, 9) or True)
      attempt(syscall, 424, 3, 9, 0, 0)
    """,
    'a fork bomb': """
      for _ in range(200):
        attempt(lambda: os.fork() or os._exit(0) or True)
      attempt(lambda: os.posix_spawn('/bin/sh', ['sh'], {}))
      import _thread
      attempt(lambda: _thread.start_new_thread(print, ()) or True)
    """,
    'a daemon': """
      attempt(lambda: os.setsid() or True)
      attempt(lambda: os.fork())
    """,
    'programs': """
      for name in ('/bin/sh', '/usr/bin/env', sys.executable, '/proc/self/exe'):
        attempt(lambda: os.execv(name, [name]))
      attempt(syscall, 322 if X86 else 281, 3, b'', 0, 0, 0x1000)
    """,
    'set-uid and capabilities': """
      for name in ('setuid', 'setgid', 'setgroups'):
        attempt(lambda: getattr(os, name)([0] if name == 'setgroups' else 0) or True)
      attempt(syscall, 126 if X86 else 91, 0, 0)
      attempt(syscall, 157 if X86 else 167, 38, 0, 0, 0, 0)
      attempt(lambda: os.getuid() == 0)
    """,
    'io_uring, keys, bpf, userfaultfd and perf': """
      own = (248, 249, 250, 321, 323, 298) if X86 else (217, 218, 219, 280, 282, 241)
      for number in (425, 426, 427, *own):
        attempt(syscall, number, 0, 0, 0, 0, 0)
    """,
    'memory files, splice and shared memory': """
      for number in ((319, 275, 276, 278, 29, 30, 68, 240) if X86 else (279, 76, 77, 75, 194, 196, 186, 180)):
        attempt(syscall, number, 0, 0, 0, 0, 0)
      attempt(lambda: open('/dev/shm/x', 'w'))
      load = lambda: __import__('multiprocessing.shared_memory').shared_memory
      attempt(lambda: load().SharedMemory(create=True, size=9))
    """,
    'executable memory and libraries': """
      import mmap
      for prot in (4, 5, 7):
        attempt(mmap.mmap, -1, 4096, mmap.MAP_PRIVATE, prot)
      attempt(lambda: libc.mprotect(ctypes.c_void_p(id(0) & ~4095), 4096, 7) == 0)
      open('x.so', 'wb').write(open(os.__file__, 'rb').read())
      attempt(lambda: ctypes.CDLL('./x.so'))
      attempt(syscall, 329, 0, 0, 4, -1)
      attempt(lambda: libc.personality(0x0400000) != -1)
    """,
    'typing into the terminal': """
      import fcntl
      for fd in range(4):
        attempt(lambda: fcntl.ioctl(fd, 0x5412, b'x') or True)
        attempt(lambda: fcntl.ioctl(fd, 0x541C, b'x') or True)
      attempt(lambda: open('/dev/tty'))
      attempt(lambda: os.open('/dev/ptmx', os.O_RDWR) >= 0)
    """,
    'kernel and machine': """
      files = '/sys /proc/sys /proc/kcore /dev/mem /dev/kmsg /dev/sda /dev/nvidia0 /dev/fuse /dev/kvm'
      for name in (*files.split(), '/run', '/var', '/home', '/root/.bashrc', '/etc/passwd', '/etc/shadow'):
        attempt(os.path.exists, name)
      for number in ((169, 170, 175, 246, 103, 164, 171) if X86 else (142, 161, 105, 104, 116, 170, 162)):
        attempt(syscall, number, 0, 0, 0, 0)
    """,
    'what the next job will find': """
      names = 'sitecustomize.py', 'usercustomize.py', 'matplotlibrc', '.config/matplotlib/fontlist-v390.json'
      for folder in (os.environ['MPLCONFIGDIR'], '/guest', sys.prefix, os.path.dirname(os.__file__)):
        for name in names:
          attempt(lambda: open(os.path.join(folder, name), 'w'))
      os.makedirs('.config/matplotlib', exist_ok=True)
      for name in names:
        open(name, 'w').write('import os; os._exit(3)')
    """,
    'what the last job left': """
      attempt(lambda: os.listdir('.'))
      attempt(lambda: [n for n in os.listdir('/config') if 'custom' in n or 'rc' in n])
    """,
  }


async def _run(tier: str) -> dict[str, Any]:
  tiers.TIERS = tuple(entry for entry in tiers.TIERS if entry[0] == tier)
  secret = secrets.token_hex(16)
  os.environ['SECRET_API_KEY'] = secret
  found: dict[str, Any] = {}
  sandbox = await Sandbox.open(Figures(1.6, 1.2, 50, 6, False), jobs=2)
  try:
    with tempfile.TemporaryDirectory() as folder, socket.create_server(('127.0.0.1', 0)) as server:
      path, unix = os.path.join(folder, 'secret'), os.path.join(folder, 'socket')
      with open(path, 'w') as file:
        file.write(secret)
      with socket.socket(socket.AF_UNIX) as listening, socket.socket(socket.AF_UNIX) as abstract:
        listening.bind(unix)
        listening.listen()
        abstract.bind(f'\0llmi-{secret}')
        abstract.listen()
        for name, code in lines(secret, path, server.getsockname()[1], unix).items():
          result = await sandbox.run(_HEAD + textwrap.dedent(code) + "\nprint('done')")
          found[name] = [result.text, result.error]
        server.settimeout(0.05)
        try:
          server.accept()
          found['a visitor'] = ['reached', '']
        except TimeoutError:
          pass
    result = await sandbox.run("plt.plot([1, 2])\nprint('alive')")
    found['the sandbox afterwards'] = [result.text, result.error]
  finally:
    await sandbox.close()
  return found


if __name__ == '__main__':
  print(json.dumps(asyncio.run(_run(sys.argv[1]))))
