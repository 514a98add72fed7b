"""The ten likeliest mistakes of newcomers: at most three lines, exit code 2, the culprit and the mend.

python tests/test_mistakes.py     # writes docs/mistakes.md anew from what they print
"""

import json
import os
import pathlib
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
from typing import NamedTuple

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGE = ROOT / 'docs' / 'mistakes.md'
TINY = '--config=configs/grpo_tiny.py'
HEAD = """# Ten mistakes and what they print

Every one ends with exit code 2 and without a traceback; those in a config do so before a device is touched.
`tests/test_mistakes.py` makes all of them and compares what is printed with this page; DIR is a folder, PORT
a port. Beside these lines there may be those of what went well before.
"""


class Mistake(NamedTuple):
  """A command line and what it must name.

  Attributes:
    title: for the page.
    arguments: behind `python -m`.
    words: the culprit and the mend.
    wall: a command in front, which makes the machine lack something; it is not shown.
    lacks: what that is.
  """

  title: str
  arguments: tuple[str, ...]
  words: tuple[str, ...]
  wall: tuple[str, ...] = ()
  lacks: str = ''


def main(*arguments):
  return ('llmi_jax.main', TINY, *arguments)


def wall(script):
  """A command in namespaces of its own, where `script` has run before."""
  return ('unshare', '--user', '--map-root-user', '--mount', 'sh', '-c', f'{script} && exec "$@"', 'sh')


MISTAKES = {
  'path': Mistake(
    'A config that is not there',
    ('llmi_jax.main', '--config=configs/grpo_tny.py'),
    ('configs/grpo_tny.py', 'did you mean configs/grpo_tiny.py?'),
  ),
  'field': Mistake(
    'A misspelt key',
    main('--config.optimizer.learning_rat=1'),
    ('optimizer.learning_rat', 'did you mean config.optimizer.learning_rate?'),
  ),
  'type': Mistake(
    'A list where a number belongs',
    main('--config.steps=[1,2]'),
    ('config.steps', 'it must be an int, such as 120'),
  ),
  'batch': Mistake(
    'A batch that cannot be shared out',
    main('--config.optimizer.updates=3'),
    ('config.data.prompts is 8', 'nearest that they do are 6 and 9'),
  ),
  'weights': Mistake(
    'Weights that are not there',
    main('--config.policy.path=DIR/weights'),
    ('DIR/weights/config.json does not exist', 'point policy.path at a Hugging Face model folder'),
  ),
  'tokenizer': Mistake(
    "Another policy's tokenizer",
    main('--config.policy.path=DIR/policy'),
    ('tokenizer in DIR/policy', 'restore tokenizer.json'),
  ),
  'disk': Mistake(
    'A full disk',
    main('--workdir=DIR/disk/run'),
    ('DIR/disk/run', 'free some space'),
    wall('mount -t tmpfs -o size=4k,nr_inodes=9 tmpfs DIR/disk'),
    'space',
  ),
  'port': Mistake(
    'A port that is taken',
    ('llmi_jax.serve.chat', '--policy=builtin:tiny', '--port=PORT'),
    ('Port PORT of 127.0.0.1', 'choose another one with --port'),
  ),
  'sandbox': Mistake(
    'No sandbox for model-written code',
    main('--workdir=DIR/run'),
    ('No sandbox holds here', 'apt-get install bubblewrap', 'or leave the code tool out'),
    wall('echo 0 > /proc/sys/user/max_user_namespaces'),
    'leave to make namespaces',
  ),
  'memory': Mistake(
    'Too little memory',
    main('--config.policy.lora.rank=1000000000', '--workdir=DIR/run'),
    ('Out of memory', 'Largest buffers now: ', '--config.policy.lora.rank=16 (it is 1000000000)'),
  ),
}


def said(mistake: Mistake, folder: pathlib.Path) -> list[str]:
  """The lines from the error on, its places named DIR and PORT."""
  (folder / 'disk').mkdir(exist_ok=True)
  policy = shutil.copytree(ROOT / 'llmi_jax' / 'assets' / 'tiny', folder / 'policy', dirs_exist_ok=True)
  merged = json.loads((policy / 'tokenizer.json').read_text())
  merged['model']['merges'].pop()
  (policy / 'tokenizer.json').write_text(json.dumps(merged))
  with socket.socket() as taken:
    taken.bind(('127.0.0.1', 0))
    taken.listen()
    port = str(taken.getsockname()[1])
    command = [*mistake.wall, sys.executable, '-m', *mistake.arguments]
    # A mistake in a config is found before a device is touched: there is none.
    early = mistake.arguments[0] == 'llmi_jax.main' and not any('DIR' in a for a in mistake.arguments)
    platform = 'none_such' if early else 'cpu'
    done = subprocess.run(
      [part.replace('DIR', str(folder)).replace('PORT', port) for part in command],
      cwd=ROOT,
      env=os.environ | {'JAX_PLATFORMS': platform, 'NO_COLOR': '1', 'PYTHONPATH': str(ROOT)},
      capture_output=True,
      text=True,
      timeout=900,
      check=False,
    )
  assert done.returncode == 2, (done.returncode, done.stdout, done.stderr)
  assert 'Traceback' not in done.stderr + done.stdout and '\x1b' not in done.stderr
  lines = done.stderr.replace(str(folder), 'DIR').replace(port, 'PORT').splitlines()
  (first,) = [i for i, line in enumerate(lines) if line.startswith('Error: ')]
  return lines[first:]


def section(mistake: Mistake, lines: list[str]) -> str:
  command = shlex.join(['python', '-m', *mistake.arguments])
  where = f', where there is no {mistake.lacks}' if mistake.lacks else ''
  body = '\n'.join(f'    {line}' for line in (f'$ {command}', *lines))
  return f'\n## {mistake.title}\n\nWith{where or " this command"}:\n\n{body}\n'.replace(
    'With, where', 'Where'
  )


QUICK = ('field',)
CASES = [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in MISTAKES]


@pytest.mark.parametrize('name', CASES)
def test_a_mistake_is_at_most_three_lines_that_name_culprit_and_mend(name, tmp_path):
  mistake = MISTAKES[name]
  lines = said(mistake, tmp_path)
  assert len(lines) <= 3
  for words in mistake.words:
    assert words in '\n'.join(lines)
  if name != 'memory':  # its figures are the machine's
    assert section(mistake, lines) in PAGE.read_text()


def test_the_page_has_all_of_them():
  titles = [line.removeprefix('## ') for line in PAGE.read_text().splitlines() if line.startswith('## ')]
  assert titles == [mistake.title for mistake in MISTAKES.values()] and len(titles) == 10


if __name__ == '__main__':
  sections = []
  for mistake in MISTAKES.values():
    with tempfile.TemporaryDirectory() as folder:
      sections.append(section(mistake, said(mistake, pathlib.Path(folder))))
      print(sections[-1], flush=True)
  PAGE.write_text(HEAD + ''.join(sections))
