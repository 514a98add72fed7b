"""2,000 random hostile snippets: the host's files, environment, processes and the pool stay as they were."""

import asyncio
import os
import pathlib
import random
import socket

import psutil
import pytest

from llmi_jax.tools.sandbox.host import Figures, Sandbox, SandboxLost

ROOT = pathlib.Path(__file__).parents[2]
SNIPPETS = 2_000

_SETUP = 'import ctypes, gc, mmap, os, random, signal, socket, struct, sys\nlibc = ctypes.CDLL(None)\n'
_PIECES = (
  'libc.syscall({n}, {a}, {b}, {c}, {d}, {e}, {f})',
  'libc.syscall({n}, ctypes.create_string_buffer(64), {b}, {c}, {d}, {e}, {f})',
  'os.kill({a}, {signal})',
  'signal.signal({signal}, signal.SIG_IGN)',
  'open({path!r}, {mode!r}).read()',
  'open({path!r}, "wb").write(os.urandom({size}))',
  'os.write({fd}, os.urandom({size}))',
  'os.close({fd})',
  'os.dup2({fd}, {fd2})',
  'os.symlink({path!r}, "{a}.png")',
  'os.truncate("x.png", {size})',
  'socket.socket({a}, {b})',
  'x = bytearray({size} * 1000)',
  'm = mmap.mmap(-1, {size} * 100 + 1)',
  'sys.setrecursionlimit({size} + 50)',
  '(lambda f: f(f))(lambda f: f(f))',
  'gc.get_objects()[{a}].__class__ = int',
  'ctypes.memset({address}, {b} & 255, {size})',
  'ctypes.string_at({address}, {size})',
  'os.write(3, struct.pack("<III", {size}, {a}, {b}) + os.urandom({size}))',
  'plt.figure(figsize=({a}, {b}), dpi={c})',
  'plt.plot(np.random.rand({size}))',
  'plt.savefig("x.png")',
  'sys.modules["matplotlib.pyplot"] = None',
  'sys.stdout = None',
  'os.chdir({path!r})',
  'exec(os.urandom({size}).hex())',
  'while True: pass',
  'os._exit({signal})',
  'raise BaseException({size})',
  'os.fork()',
)
_PATHS = (
  '/etc/shadow',
  '/proc/self/mem',
  '/dev/null',
  '/tmp/x',
  'x.png',
  '/guest/llmi_jax/__init__.py',
  '/',
  '..',
)


def snippet(rng: random.Random) -> str:
  """A few random pieces, each of which may fail without ending the others."""
  lines = []
  for _ in range(rng.randint(1, 6)):
    piece = rng.choice(_PIECES).format(
      n=rng.randint(0, 470),
      **{name: rng.choice((-1, 0, 1, 3, 4096, 2**31 - 1, rng.randint(-9, 99))) for name in 'abcdef'},
      signal=rng.randint(1, 31),
      fd=rng.randint(0, 6),
      fd2=rng.randint(0, 6),
      size=rng.choice((0, 1, 100, 70_000, 3_000_000)),
      address=rng.choice((0, 4096, rng.getrandbits(47))),
      path=rng.choice(_PATHS),
      mode=rng.choice(('r', 'rb', 'r+b', 'a')),
    )
    lines += ['try:', f'  {piece}', 'except Exception: pass']
  return _SETUP + '\n'.join(lines)


def state() -> tuple:
  """What a snippet must not change: files, environment, open descriptors, children, what is listened on."""
  tree = sorted((str(p), p.stat().st_size, p.stat().st_mtime_ns) for p in (ROOT / 'llmi_jax').rglob('*.py'))
  roots = sorted(name for folder in ('/', '/etc', '/usr', '/dev') for name in os.listdir(folder))
  children = len(psutil.Process().children(recursive=True))
  return tree, roots, dict(os.environ), len(os.listdir('/proc/self/fd')), children


@pytest.mark.slow
def test_two_thousand_hostile_snippets_change_nothing():
  async def main():
    sandbox = await Sandbox.open(Figures(1.6, 1.2, 50, 6, False), jobs=3)
    lost, codes = 0, [snippet(random.Random(seed)) for seed in range(SNIPPETS)]
    try:
      await sandbox.run('plt.plot([1, 2])')
      launcher, before = sandbox._outside._process.pid, state()

      async def one(code):
        nonlocal lost
        try:
          return await sandbox.run(code, deadline=1.0)
        except SandboxLost:
          lost += 1

      results = await asyncio.gather(*map(one, codes))
      await asyncio.sleep(0.2)
      good = await sandbox.run('plt.plot([1, 2])\nprint("alive")')
      return lost, results, good, before, state(), launcher == sandbox._outside._process.pid
    finally:
      await sandbox.close()

  with socket.create_server(('127.0.0.1', 0)) as server:
    server.settimeout(0.05)
    lost, results, good, before, after, same = asyncio.run(main())
    with pytest.raises(TimeoutError):
      server.accept()
  assert lost == 0 and same and after == before
  assert good.error == '' and good.text == 'alive\n' and good.picture
  assert all(result.error or result.picture for result in results)
