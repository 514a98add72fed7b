"""Runs of one config with several values, in order; a failing one does not stop the rest."""

import pathlib
import shlex
import signal
import subprocess
import sys
from collections.abc import Sequence

from llmi_jax import front, metrics
from llmi_jax.config import sweep


def plan(axes: Sequence[str], workdir: pathlib.Path) -> list[tuple[pathlib.Path, list[str]]]:
  """Folder and command of every run; every config is read, so that no run fails for its config.

  Raises:
    ConfigError: an axis or a value cannot be.
  """
  rest = [
    arg for arg in sys.argv[1:] if arg.lstrip('-').partition('=')[0] not in ('sweep', 'dry_run', 'workdir')
  ]
  made = []
  for arm in sweep.arms(axes):
    front.read(front.CONFIG.value, [*front.overrides(), *arm.overrides])
    folder = workdir / arm.name
    made.append((folder, ['python', '-m', 'llmi_jax.main', *rest, *arm.overrides, f'--workdir={folder}']))
  return made


def run(axes: Sequence[str], workdir: pathlib.Path, dry: bool) -> int:
  """Runs a sweep, or prints its commands; the exit code is 0 where every run's is."""
  runs = plan(axes, workdir)
  if dry:
    print('\n'.join(shlex.join(command) for _, command in runs))
    return 0
  codes = []
  for number, (_, command) in enumerate(runs, 1):
    print(f'Run {number} of {len(runs)}: {shlex.join(command)}', file=sys.stderr, flush=True)
    codes.append(_one(command))
    if codes[-1] == front.INTERRUPTED:
      break
  print(comparison([folder for folder, _ in runs], codes))
  return front.INTERRUPTED if front.INTERRUPTED in codes else front.FAILED if any(codes) else 0


def comparison(folders: Sequence[pathlib.Path], codes: Sequence[int]) -> str:
  """A line per run, the best first, and the command that shows them beside each other."""
  rows = []
  for number, folder in enumerate(folders):
    summary = metrics.read_summary(folder)
    before, after = ((summary.get(name) or {}).get('reward') for name in ('eval_before', 'eval_after'))
    state = 'not run' if number >= len(codes) else 'ok' if not codes[number] else f'exit {codes[number]}'
    rows.append((after, [folder.name, *map(_reward, (before, after)), _steps(folder), state]))
  rows.sort(key=lambda row: (row[0] is None, -(row[0] or 0.0)))
  cells = [['run', 'before', 'after', 'steps', 'state'], *(row for _, row in rows)]
  wide = [max(len(row[i]) for row in cells) for i in range(5)]
  lines = ['  '.join(f'{cell:<{width}}' for cell, width in zip(row, wide)).rstrip() for row in cells]
  view = shlex.join(['python', '-m', 'llmi_jax.view', *map(str, folders)])
  return '\n'.join([*lines, f'Compare: {view}'])


def _one(command: Sequence[str]) -> int:
  """A run's exit code; who is asked to stop asks the run, and waits for it."""
  process = subprocess.Popen([sys.executable, *command[1:]])
  old = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
  for number in old:
    signal.signal(number, lambda got, _: process.send_signal(got))
  try:
    return process.wait()
  finally:
    for number, handler in old.items():
      signal.signal(number, handler)


def _reward(value: float | None) -> str:
  return '–' if value is None else f'{value:.3f}'


def _steps(folder: pathlib.Path) -> str:
  lines = metrics.read(folder)
  return str(lines[-1]['step']) if lines else '0'
