"""Commands in README and docs name modules, flags, files and values that exist; README's run."""

import pathlib
import re
import shlex
import subprocess
import sys

import pytest

from llmi_jax import front

ROOT = pathlib.Path(__file__).parents[2]
# Commands that are wrong on purpose have a test of their own.
PAGES = [ROOT / 'README.md', *sorted(set((ROOT / 'docs').glob('*.md')) - {ROOT / 'docs' / 'mistakes.md'})]
FLAGS = {
  name
  for path in (ROOT / 'llmi_jax').rglob('*.py')
  for name in re.findall(r"DEFINE_\w+\(\s*'(\w+)'", path.read_text())
}
# Values of a command that a test cannot wait for, in fewer and smaller pieces.
LESS = {
  'main': (
    *(f'--config.{pair}' for pair in ('steps=2', 'data.prompts=2', 'data.samples=2', 'eval.tasks=2')),
  ),
  'evaluate': ('--limit=2',),
}


def commands(text):
  """Module and arguments of each indented command line; lines that end in a backslash go on."""
  text = re.sub(r'\\\n\s+', '', text)
  for line in re.findall(r'^    .*python -m llmi_jax\.(.+)$', text, re.M):
    module, *arguments = shlex.split(line, comments=True)
    yield module, arguments


CASES = [(page.name, *found) for page in PAGES for found in commands(page.read_text())]


def test_there_are_commands():
  assert len(CASES) > 15 and len({module for _, module, _ in CASES}) > 5


@pytest.mark.parametrize(('page', 'module', 'arguments'), CASES)
def test_a_command_is_one(page, module, arguments):
  place = ROOT / 'llmi_jax' / module.replace('.', '/')
  assert place.with_suffix('.py').is_file() or (place / '__main__.py').is_file(), module
  values = dict(argument.removeprefix('--').split('=', 1) for argument in arguments if '=' in argument)
  for argument in arguments:
    name = argument.removeprefix('--').split('=')[0]
    assert argument.startswith('--') or module == 'view', argument
    assert name in {*FLAGS, 'help'} or name.startswith('config.') or not argument.startswith('--'), argument
  for value in values.values():
    for path in re.findall(r'\b(?:configs|docs)/[\w/]+\.py', value):
      assert (ROOT / path).is_file(), path
  if values.get('config', '').startswith('configs/'):
    overrides = [argument for argument in arguments if argument.startswith('--config.')]
    assert front.read(str(ROOT / values['config']), overrides)


@pytest.mark.slow
def test_readmes_commands_run(tmp_path):
  text = (ROOT / 'README.md').read_text()
  block = text[text.index('\n## Use\n') :].split('\n\n')[1]
  found = list(commands(block))
  assert found[0][0] == 'main' and len(found) > 4
  for name in ('configs', 'docs'):
    (tmp_path / name).symlink_to(ROOT / name)
  for module, arguments in found:
    if module in ('view', 'serve.chat'):
      continue  # they serve until they are stopped, and have tests of their own
    line = [sys.executable, '-m', f'llmi_jax.{module}', *arguments, *LESS.get(module, ())]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, (line, done.stderr[-2000:])
  assert (tmp_path / 'cat.html').is_file() and (tmp_path / 'exports' / 'mine' / 'config.json').is_file()
