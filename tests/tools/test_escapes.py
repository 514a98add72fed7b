"""The escape suite on both local tiers, as root and as an ordinary user; every line is run inside."""

import json
import os
import pathlib
import shlex
import subprocess
import sys

import pytest

from llmi_jax.tools.sandbox import tiers
from tests.tools import escape_suite

ROOT = pathlib.Path(__file__).parents[2]
LINES = (*escape_suite.lines('', '', 0, ''), 'the sandbox afterwards')
NOBODY = 65534
pytestmark = pytest.mark.slow


def as_ordinary_user(command: list[str]) -> list[str]:
  """The command as a user without rights; shows it the interpreter where that lies in root's own folder."""
  prefix = pathlib.Path(sys.base_prefix).resolve()
  closed = [p for p in reversed(prefix.parents) if not p.stat().st_mode & 1]
  show = ''
  if closed:
    inner, top = shlex.quote(str(prefix)), shlex.quote(str(closed[0]))
    show = (
      f'mount --rbind {inner} /mnt && mount -t tmpfs -o mode=755 tmpfs {top} && mkdir -p {inner} && '
      f'mount --rbind /mnt {inner} && umount -l /mnt && '
    )
  drop = f'exec setpriv --reuid={NOBODY} --regid={NOBODY} --clear-groups {shlex.join(command)}'
  return ['unshare', '--mount', '--propagation=private', 'sh', '-c', show + drop]


@pytest.fixture(
  scope='module', params=[(tier, who) for tier, _ in tiers.TIERS for who in ('caller', 'ordinary')]
)
def found(request):
  tier, who = request.param
  command = [sys.executable, '-m', 'tests.tools.escape_suite', tier]
  if who == 'ordinary':
    if os.getuid():
      pytest.skip('the caller is an ordinary user already')
    command = as_ordinary_user(command)
  environment = {
    'PATH': os.environ['PATH'],
    'PYTHONPATH': str(ROOT),
    'HOME': '/tmp',
    'PYTHONDONTWRITEBYTECODE': '1',
  }
  done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
  assert done.returncode == 0, done.stderr[-2000:]
  return json.loads(done.stdout)


@pytest.mark.parametrize('line', LINES)
def test_nothing_is_reached(found, line):
  text, error = found[line]
  assert 'reached' not in text, f'{line}: {text}'
  # Either the attack ended in refusals alone, or the job was killed for it.
  assert text.strip() in ('done', 'alive') or 'killed' in error or 'stopped' in error, (text, error)


def test_nobody_called_in(found):
  assert 'a visitor' not in found
