"""Attacks run inside the sandbox; the host looks at what they reached."""

import asyncio
import os
import pathlib
import signal
import socket
import subprocess
import sys
import textwrap
import time

import numpy as np
import psutil
import pytest

from llmi_jax.core.errors import SandboxError
from llmi_jax.services import images
from llmi_jax.tools.code import code_tool, unfenced
from llmi_jax.tools.registry import Context, ToolFailure
from llmi_jax.tools.sandbox import tiers, view
from llmi_jax.tools.sandbox.host import Figures, Sandbox

ROOT = pathlib.Path(__file__).parents[2]
SMALL = Figures(3.2, 2.4, 60, 7, tight=False)
PLOT = "plt.plot([1, 3, 2])\nplt.title('t')"


class Box:
  """A sandbox and the event loop that it belongs to."""

  def __init__(self):
    self.runner = asyncio.Runner()
    self.sandbox = self.runner.run(Sandbox.open(SMALL, jobs=3))

  def __call__(self, code, deadline=10.0):
    return self.runner.run(self.sandbox.run(textwrap.dedent(code), deadline=deadline))

  def together(self, *jobs):
    async def main():
      return await asyncio.gather(*(self.sandbox.run(textwrap.dedent(c), deadline=s) for c, s in jobs))

    return self.runner.run(main())

  def close(self):
    self.runner.run(self.sandbox.close())
    self.runner.close()


@pytest.fixture(scope='module', params=[name for name, _ in tiers.TIERS])
def box(request):
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(tiers, 'TIERS', tuple(tier for tier in tiers.TIERS if tier[0] == request.param))
    patch.setenv('SECRET_API_KEY', 'sk-canary')
    opened = Box()
  assert opened.sandbox.tier == request.param
  yield opened
  opened.close()


def ours(box) -> list[psutil.Process]:
  """The launcher and everything below it, as the host sees them."""
  top = psutil.Process(box.sandbox._outside._process.pid)
  return [top, *top.children(recursive=True)]


# What people use it for.


def test_the_current_figure_is_the_picture(box):
  result = box(PLOT)
  assert result.error == '' and (result.picture.width, result.picture.height) == (192, 144)
  assert images.to_array(result.picture).std() > 10
  assert 'matplotlib' in result.versions and 'numpy' in result.versions


def test_the_same_code_draws_the_same_picture(box):
  noise = 'plt.imshow(np.random.rand(9, 9))'
  assert box(noise).picture == box(noise).picture


def test_every_library_of_the_promise_is_there(box):
  result = box("""
    frame = pd.DataFrame({'x': np.arange(30.0), 'y': np.sin(np.arange(30.0)), 'kind': list('abc') * 10})
    figure, axes = plt.subplots(2, 3)
    sns.kdeplot(data=frame, x='y', hue='kind', ax=axes[0, 0])
    sns.boxplot(data=frame, x='kind', y='y', ax=axes[0, 1])
    sns.regplot(data=frame, x='x', y='y', ax=axes[0, 2])
    frame.plot(x='x', y='y', ax=axes[1, 0])
    axes[1, 1].contourf(np.outer(frame.x, frame.y))
    axes[1, 2].set_title('größer ≥ Ω Привет $x^2$')
    print(len(frame))
  """)
  assert (result.error, result.text) == ('', '30\n')


def test_a_saved_picture_counts_even_when_the_figure_is_closed(box):
  result = box("plt.plot([1, 2])\nplt.savefig('out.png')\nplt.close()\nplt.figure(figsize=(1, 1))")
  assert result.error == '' and result.picture.width == 192


@pytest.mark.parametrize(
  ('code', 'error'),
  [
    ('x = 1', 'The code made no figure.'),
    ('1 / 0', 'ZeroDivisionError: division by zero'),
    ('plt.plot([1, 2]', 'SyntaxError'),
    ('raise SystemExit(3)', 'SystemExit: 3'),
    ('undefined', "NameError: name 'undefined' is not defined"),
    ('plt.title("$\\\\frac{$")', 'ValueError'),
    ('plt.figure(figsize=(1000, 1000), dpi=100)', 'at most 40,000,000'),
    ('for _ in range(17): plt.figure()', 'at most 16'),
    ('x' * 200_001, 'at most 200,000'),
    ('import tkinter', 'Error'),
  ],
)
def test_what_gives_no_picture_says_why(box, code, error):
  result = box(code)
  assert result.picture is None and error in result.error


def test_each_job_starts_afresh(box):
  box("plt.rcParams['figure.dpi'] = 5\nnp.pi = 3\nopen('left', 'w').write('x')\nplt.plot([1, 2])")
  result = box("import os\nprint(np.pi, os.listdir('.'))\nplt.plot([1, 2])")
  assert result.text == '3.141592653589793 []\n' and result.picture.width == 192


def test_the_code_tool_strips_fences_and_reports_what_was_executed(box):
  tool = code_tool(box.sandbox)
  fenced = f'```python\n{PLOT}\n```'
  outcome = box.runner.run(tool.call({'code': fenced}, Context()))
  assert outcome.executed == (('code', PLOT),) and outcome.image.source == 'code'
  with pytest.raises(ToolFailure, match='ZeroDivisionError') as raised:
    box.runner.run(tool.call({'code': '1/0'}, Context()))
  assert raised.value.fault == 'policy'
  assert unfenced('~~~\na\n~~~') == 'a' and unfenced('a\n```') == 'a\n```'


def test_of_several_figures_the_current_one_is_taken_and_of_several_files_the_newest(box):
  two = box('plt.figure(figsize=(1, 1))\nplt.plot([1, 2])\nplt.figure(figsize=(2, 1))\nplt.plot([1, 2])')
  assert two.picture.width == 120
  back = box('a = plt.figure(figsize=(1, 1))\nplt.figure(figsize=(2, 1))\nplt.figure(a.number)')
  assert back.picture.width == 60
  saved = box("""
    import time
    for number, width in enumerate((1, 3, 2)):
      plt.figure(figsize=(width, 1)).savefig(f'{number}.png')
      time.sleep(0.02)
  """)
  assert saved.picture.width == 120


def test_labels_of_many_scripts_and_signs_are_drawn(box):
  result = box("""
    plt.bar(['日本語', 'العربية', 'हिन्दी', 'Ελληνικά', 'čeština'], [1, 2, 3, 4, 5])
    plt.title('≥ ∑ ∞ 😀 \\u202e')
    print('日本語 😀')
  """)
  assert result.error == '' and result.picture and result.text.startswith('日本語 😀')


def test_large_data_is_drawn_in_time(box):
  result = box("""
    x = np.random.rand(1_000_000)
    figure, axes = plt.subplots(1, 3)
    axes[0].plot(x)
    axes[1].hist(x, bins=200)
    axes[2].imshow(x.reshape(1000, 1000))
  """)
  assert result.error == '' and result.picture


def test_only_the_first_frame_of_many_counts(box):
  result = box("""
    from PIL import Image
    frames = [Image.new('RGB', (30, 20), colour) for colour in ('red', 'blue', 'green')]
    frames[0].save('a.gif', save_all=True, append_images=frames[1:])
  """)
  assert result.error == '' and (result.picture.width, result.picture.height) == (30, 20)
  assert tuple(images.to_array(result.picture)[5, 5]) == (255, 0, 0)


def test_the_outcome_names_the_exact_versions_of_the_libraries(box):
  outcome = box.runner.run(code_tool(box.sandbox).call({'code': PLOT}, Context()))
  versions = dict(outcome.artefacts)['versions']
  assert all(
    f'{name} ' in versions for name in ('python', 'matplotlib', 'numpy', 'pandas', 'scipy', 'seaborn')
  )
  assert np.__version__ in versions


# What attackers try.


def test_a_reply_that_is_a_pickle_is_never_loaded(box, tmp_path):
  mark = tmp_path / 'mark'
  result = box(f"""
    import os, pickle
    class Evil:
      def __reduce__(self): return os.system, ('touch {mark}',)
    os.write(3, pickle.dumps(Evil()))
    os._exit(0)
  """)
  assert result.picture is None and not mark.exists()


def test_endless_standard_error_is_bounded(box):
  result = box("import sys\nwhile True: sys.stderr.write('x' * 100_000)", deadline=0.5)
  assert 'stopped' in result.error and len(result.text) <= 200_000


def test_neither_environment_nor_processes_of_the_host_are_seen(box):
  result = box("""
    import os
    print(sorted(os.environ))
    for path in ('/proc/1/environ', '/proc/self/mem', '/sys', '/run', '/var', '/home', '/etc/passwd'):
      print(path, os.path.exists(path))
    print(os.getpid(), os.getuid())
  """)
  assert 'canary' not in result.text and 'SECRET' not in result.text
  assert 'True' not in result.text and result.text.splitlines()[-1] == '1 65534'


def test_no_file_of_the_host_is_read_or_written(box, tmp_path):
  secret = tmp_path / 'secret'
  secret.write_text('canary')
  result = box(f"""
    import os
    for path in ({str(secret)!r}, {str(ROOT / 'pyproject.toml')!r}, '/etc/shadow', '/root/.bashrc'):
      try:
        print(open(path).read())
      except OSError as error:
        print(type(error).__name__)
    for path in ({str(tmp_path / 'new')!r}, '/new', '/tmp/../n', '/usr/lib/new', '/guest/new', '/dev/n'):
      try:
        print(open(path, 'w').write('x'))
      except OSError as error:
        print(type(error).__name__)
  """)
  assert 'canary' not in result.text and os.listdir(tmp_path) == ['secret']
  lines = result.text.splitlines()
  assert all(line.endswith('Error') for line in lines[:10]), lines


def test_no_socket_of_any_family_opens(box):
  result = box("""
    import socket
    opened = []
    for family in range(64):
      for kind in (1, 2, 3, 5):
        try:
          socket.socket(family, kind)
          opened.append((family, kind))
        except OSError:
          pass
    print(opened)
  """)
  assert result.text == '[]\n'


def test_a_server_of_the_host_is_not_reached(box):
  with socket.create_server(('127.0.0.1', 0)) as server:
    server.settimeout(0.2)
    port = server.getsockname()[1]
    result = box(f"""
      import urllib.request
      for host in ('127.0.0.1', '169.254.169.254', '8.8.8.8'):
        try:
          urllib.request.urlopen(f'http://{{host}}:{port}/', timeout=1)
          print('reached')
        except OSError as error:
          print('no')
    """)
    assert result.text == 'no\n' * 3
    with pytest.raises(TimeoutError):
      server.accept()


SYSCALLS = """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
allowed = set(ALLOWED)
worked = []
for number in range(470):
  if number in allowed:
    continue
  if libc.syscall(number, 0, 0, 0, 0, 0, 0) != -1 or ctypes.get_errno() not in (1, 25, 38):
    worked.append(number)
print(worked)
"""


def test_every_system_call_outside_the_list_is_refused(box):
  from llmi_jax.tools.sandbox.guest import seccomp

  column = list(seccomp.ARCHITECTURES).index(os.uname().machine)
  tables = (seccomp._ALLOWED, seccomp._MAPPING)
  allowed = [row[column] for table in tables for row in table.values() if row[column] is not None]
  # Kernels let uretprobe and uprobe pass every filter; they act only on trampolines that the kernel made.
  allowed += [335, 336] if column == 0 else []
  result = box(f'ALLOWED = {allowed}\n{SYSCALLS}')
  assert result.text == '[]\n'
  assert len(allowed) < 80


def test_old_and_foreign_system_call_tables_kill(box):
  if os.uname().machine != 'x86_64':
    pytest.skip('x32 is a table of x86_64')
  result = box('import ctypes\nctypes.CDLL(None).syscall(0x40000000 + 39)\nplt.plot([1])')
  assert 'SIGSYS' in result.error


def test_pages_cannot_be_made_executable_nor_libraries_loaded(box):
  result = box("""
    import ctypes, mmap
    for prot in (4, 5, 7):
      try:
        mmap.mmap(-1, 4096, prot=prot)
        print('mapped')
      except OSError:
        print('no')
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    page = libc.mmap(None, 4096, 3, 34, -1, 0)
    print(libc.mprotect(ctypes.c_void_p(page), 4096, 7))
  """)
  assert result.text == 'no\nno\nno\n-1\n'


def test_signals_reach_nobody(box):
  before = {p.pid for p in ours(box)}
  result = box("""
    import os, signal
    for target in (-1, 0, 1, os.getppid(), 2, 3):
      for number in (9, 15, 19):
        try:
          os.kill(target, number)
          print('sent')
        except OSError:
          pass
    print('done')
  """)
  assert result.text == 'done\n' and {p.pid for p in ours(box)} == before


def test_forks_threads_programs_and_daemons_are_refused(box):
  result = box("""
    import multiprocessing, os, subprocess, threading
    def system():
      if os.system('true') != 0: raise OSError
    attempts = [os.fork, os.forkpty, system, lambda: subprocess.run(['/bin/true']), lambda: os.popen('true')]
    attempts += [lambda: os.execv('/bin/true', ['true']), lambda: os.posix_spawn('/bin/true', ['true'], {})]
    attempts += [threading.Thread(target=print).start, multiprocessing.Process().start]
    for attempt in attempts:
      try:
        attempt()
        print('worked')
      except (OSError, RuntimeError):
        print('no')
  """)
  assert result.text == 'no\n' * 9
  time.sleep(0.05)
  assert len(ours(box)) <= 2


def test_a_job_that_ignores_every_signal_and_runs_on_is_stopped(box):
  start = time.monotonic()
  result = box(
    """
    import signal
    for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:
      signal.signal(number, signal.SIG_IGN)
    while True:
      try:
        while True: pass
      except BaseException: pass
    """,
    deadline=0.5,
  )
  assert 'stopped after 0.5 s' in result.error and time.monotonic() - start < 20
  time.sleep(0.05)
  assert len(ours(box)) <= 2


def test_sleeping_beyond_the_deadline_is_stopped_and_neighbours_finish(box):
  start = time.monotonic()
  sleeper, burner, good = box.together(
    ('import time; time.sleep(60)', 0.7), ('while True: pass', 0.7), (PLOT, 10)
  )
  assert 'stopped' in sleeper.error and 'stopped' in burner.error and good.error == ''
  assert time.monotonic() - start < 40


@pytest.mark.parametrize(
  'code',
  [
    'x = np.ones(10**9)',
    'x = [bytearray(1 << 26) for _ in range(100)]',
    "s = 'x'\nwhile True: s += s",
    'import mmap\nx = [mmap.mmap(-1, 1 << 28) for _ in range(20)]',
  ],
)
def test_memory_is_bounded(box, code):
  result = box(code + '\nplt.plot([1])')
  assert result.picture is None and (
    'Memory' in result.error or 'Error' in result.error or 'killed' in result.error
  )


def test_disk_is_bounded_in_bytes_and_files(box):
  result = box("""
    import os
    total = 0
    try:
      for number in range(100):
        with open(f'f{number}', 'wb') as file:
          for _ in range(31):
            total += file.write(bytes(1 << 20))
    except OSError as error:
      print(error.errno, total >> 20)
    for name in os.listdir('.'): os.unlink(name)
    try:
      for number in range(100_000): open(f'g{number}', 'w').close()
    except OSError as error:
      print(error.errno, number)
    os.unlink('g1')
    try:
      open('big', 'wb').truncate(1 << 40)
    except OSError as error:
      print(error.errno)
  """)
  (space, mebibytes), (inodes, files), (size,) = [line.split() for line in result.text.splitlines()]
  assert space == '28' and int(mebibytes) <= 64 and inodes == '28' and int(files) <= 10_000 and size == '27'


def test_endless_output_is_bounded(box):
  for stream in ('print', 'lambda t: __import__("os").write(1, t.encode())'):
    result = box(f"write = {stream}\nwhile True: write('x' * 100_000)", deadline=0.5)
    assert 'stopped' in result.error and len(result.text) <= 200_000
  result = box("print('x' * 10**9)\nplt.plot([1, 2])")
  assert result.error == '' and len(result.text) == 200_000


@pytest.mark.parametrize(
  'lines',
  [
    "os.symlink('/etc/shadow', 'a.png')",
    "os.link('/usr/lib/os-release', 'a.png')",
    "os.mkfifo('a.png')",
    "os.mknod('a.png')",
    "os.mkdir('a.png')",
    "open('a.png', 'wb').write(b'not a picture')",
    "open('a.png', 'wb').write(b'<svg xmlns=\"http://www.w3.org/2000/svg\"/>')",
    "open('a.png', 'wb').truncate(30 << 20)",
  ],
)
def test_what_is_left_as_a_picture_is_a_picture_or_nothing(box, lines):
  result = box(f'import os\n{lines}')
  assert result.picture is None and result.error


def test_a_decompression_bomb_from_inside_is_refused(box):
  result = box("""
    import struct, zlib
    def chunk(kind, body):
      return struct.pack('>I', len(body)) + kind + body + struct.pack('>I', zlib.crc32(kind + body))
    head = struct.pack('>IIBBBBB', 20000, 20000, 8, 2, 0, 0, 0)
    body = zlib.compress(bytes(60001 * 100))
    chunks = chunk(b'IHDR', head) + chunk(b'IDAT', body) + chunk(b'IEND', b'')
    open('a.png', 'wb').write(b'\\x89PNG\\r\\n\\x1a\\n' + chunks)
  """)
  assert result.picture is None and 'pixels' in result.error


FORGED = """
import os, struct
picture = open('a.png', 'wb')
plt.plot([1]); plt.savefig('a.png')
data = open('a.png', 'rb').read()
frame = struct.pack('<III', len(data), 0, 0) + data
"""


@pytest.mark.parametrize(
  'end',
  [
    'os.write(3, frame[:-1]); os._exit(0)',
    'os.write(3, frame + b"x"); os._exit(0)',
    "os.write(3, struct.pack('<III', 0xFFFFFFFF, 0, 0)); os._exit(0)",
    'os.write(3, frame); os._exit(1)',
    'os.write(3, frame); os.kill(1, 9)',
    'os.write(3, frame)',
    'os._exit(0)',
    'os.close(3)',
    'while True: os.write(3, frame)',
  ],
)
def test_replies_that_a_job_writes_by_itself_are_whole_or_nothing(box, end):
  result = box(f'{FORGED}\n{end}', deadline=3)
  assert result.picture is None and result.error


def test_a_forged_reply_is_only_the_jobs_own(box):
  forged, honest = box.together((f'{FORGED}\nos.write(3, frame); os._exit(0)', 5), ('1/0', 5))
  assert forged.picture is not None and 'ZeroDivision' in honest.error
  descriptors = box("""
    import os
    found = []
    for fd in range(3, 256):
      try:
        os.fstat(fd)
        found.append(fd)
      except OSError:
        pass
    print(found)
  """)
  assert descriptors.text == '[3]\n'


def test_escapes_through_pythons_own_objects_end_at_the_kernel(box):
  result = box(
    """
    import gc, sys
    for name, module in list(sys.modules.items()):
      if 'launcher' in name:
        for thing in gc.get_objects():
          if type(thing).__name__ in ('Launcher', 'Job', 'socket'):
            for act in ('serve', 'kill', 'report'):
              try:
                getattr(thing, act)()
                print('worked')
              except (OSError, AttributeError, ValueError):
                pass
    print('done')
  """,
    deadline=2,
  )
  assert 'worked' not in result.text
  assert box(PLOT).error == ''


# Life and death.


def test_cancelling_stops_the_job_at_once(box):
  async def main():
    job = asyncio.ensure_future(box.sandbox.run('while True: pass', deadline=60))
    await asyncio.sleep(0.3)
    during = len(ours(box))
    job.cancel()
    await asyncio.wait([job])
    await asyncio.sleep(0.2)
    return during, len(ours(box))

  during, after = box.runner.run(main())
  assert after == during - 1
  assert box(PLOT).error == ''


def test_no_descriptor_is_left_open(box):
  box(PLOT)
  before = len(os.listdir('/proc/self/fd'))
  for code in (PLOT, '1/0', 'import os; os._exit(1)'):
    box(code)
  with pytest.raises(TimeoutError):
    box.runner.run(asyncio.wait_for(box.sandbox.run('while True: pass', deadline=60), 0.2))
  assert len(os.listdir('/proc/self/fd')) == before


def test_a_dead_launcher_is_lost_for_its_job_and_started_again_for_the_next(box):
  from llmi_jax.tools.sandbox.host import SandboxLost

  async def main():
    job = asyncio.ensure_future(box.sandbox.run('while True: pass', deadline=30))
    await asyncio.sleep(0.2)
    os.killpg(box.sandbox._outside._process.pid, signal.SIGKILL)
    with pytest.raises(SandboxLost):
      await job
    return await box.sandbox.run(PLOT)

  assert box.runner.run(main()).error == ''


def test_without_any_tier_nothing_runs(monkeypatch):
  monkeypatch.setattr(tiers, 'TIERS', (('bubblewrap', tiers.bubblewrap),))
  monkeypatch.setenv('PATH', '/nowhere')
  with pytest.raises(SandboxError, match=r'bwrap is not installed.*apt-get install bubblewrap'):
    asyncio.run(Sandbox.open(SMALL))


def test_a_tier_that_does_not_hold_is_refused(monkeypatch):
  def none_at_all(view, settings):
    script = """
import os, socket
control = socket.socket(fileno=os.dup(0))
control.send(b'versions')
_, (code, reply, end), _, _ = socket.recv_fds(control, 64, 3)
read, write = os.pipe()
os.dup2(write, 1)
exec(os.pread(code, 1 << 20, 0).decode(), {})
import struct, sys
sys.stdout.flush()
os.close(write); os.close(1)
text = os.read(read, 1 << 16)
os.write(reply, struct.pack('<III', 0, 0, len(text)) + text)
os.close(reply)
os.write(end, struct.pack('<Bid', 0, 0, 0.0))
"""
    return tiers.Start([sys.executable, '-c', script], {})

  monkeypatch.setattr(tiers, 'TIERS', (('none', none_at_all),))
  with pytest.raises(SandboxError, match=r'none: does not hold.*reads a file outside.*forks'):
    asyncio.run(Sandbox.open(SMALL))


HOLDER = """
import asyncio, sys
sys.path[:0] = ['.']
from llmi_jax.tools.sandbox.host import Figures, Sandbox
async def main():
  sandbox = await Sandbox.open(Figures(3.2, 2.4, 60, 7, False))
  job = asyncio.ensure_future(sandbox.run('while True: pass', deadline=60))
  await asyncio.sleep(0.3)
  print(sandbox._outside._process.pid, flush=True)
  await asyncio.sleep(60)
asyncio.run(main())
"""


def test_nothing_outlives_kill_9_of_the_parent():
  holder = subprocess.Popen([sys.executable, '-c', HOLDER], stdout=subprocess.PIPE, text=True, cwd=ROOT)
  top = psutil.Process(int(holder.stdout.readline()))
  below = [top, *top.children(recursive=True)]
  assert len(below) >= 2
  holder.send_signal(signal.SIGKILL)
  holder.wait()
  holder.stdout.close()
  _, alive = psutil.wait_procs(below, timeout=3)
  assert not alive


def test_nothing_is_left_after_close():
  async def main():
    sandbox = await Sandbox.open(SMALL)
    job = asyncio.ensure_future(sandbox.run('while True: pass', deadline=60))
    await asyncio.sleep(0.3)
    top = psutil.Process(sandbox._outside._process.pid)
    below = [top, *top.children(recursive=True)]
    await sandbox.close()
    await asyncio.wait([job])
    return below

  _, alive = psutil.wait_procs(asyncio.run(main()), timeout=3)
  assert not alive


def test_pictures_of_many_jobs_do_not_mix(box):
  jobs = [
    (f'plt.imshow(np.full((4, 4, 3), {shade}, np.uint8))\nplt.axis("off")', 20) for shade in range(0, 250, 10)
  ]
  results = box.together(*jobs)
  centres = [images.to_array(result.picture)[72, 100] for result in results]
  assert np.array_equal(np.stack(centres)[:, 0], np.arange(0, 250, 10))


@pytest.mark.parametrize('tier', [name for name, _ in tiers.TIERS])
def test_libraries_below_the_folder_that_jobs_write_to_are_seen(tier, tmp_path, monkeypatch):
  link = tmp_path / 'packages'
  link.symlink_to(view._home('matplotlib'))
  assert link.is_relative_to('/tmp') and view.inside(str(link)) == f'/guest/machine{link}'
  monkeypatch.setattr(view, '_home', lambda name: str(link))
  monkeypatch.setattr(tiers, 'TIERS', tuple(one for one in tiers.TIERS if one[0] == tier))
  with monkeypatch.context() as patch, pytest.raises(SandboxError, match=r'cannot draw|did not start'):
    patch.setattr(view, 'inside', lambda path: path)
    Box()
  opened = Box()
  try:
    code = "import scipy.special\nplt.title('\\U0001F9FF')\nplt.plot([1, 2])\nopen('/tmp/a', 'w').close()"
    drawn = opened(code)
    assert drawn.error == '' and drawn.picture, drawn
  finally:
    opened.close()
