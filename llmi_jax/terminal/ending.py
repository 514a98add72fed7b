"""What stands at the end of every run, good or bad."""

import pathlib
import shlex
from collections.abc import Sequence

from llmi_jax.terminal.diversion import FOLDER


def ending(workdir: pathlib.Path, report: pathlib.Path | None, command: Sequence[str], finished: bool) -> str:
  """The run's folder and report, and the commands to go on with it.

  Args:
    workdir: of the run.
    report: None where it could not be written.
    command: that started the run; the same one resumes it.
    finished: whether there is nothing left to resume.
  """
  folder = shlex.quote(str(workdir))
  rows = [
    ('Run', str(workdir)),
    ('Report', str(report) if report else 'not written'),
    ('Log', str(workdir / FOLDER)),
    ('Resume', 'nothing is left to do' if finished else shlex.join(command)),
    ('View', f'python -m llmi_jax.view {folder}'),
    ('Answer', f"python -m llmi_jax.generate --policy={folder} --prompt='Show a tabby cat.' --out=cat.html"),
    ('Serve', f'python -m llmi_jax.serve.chat --policy={folder}'),
    ('Export', f'python -m llmi_jax.export --policy={folder} --out={shlex.quote(f"exports/{workdir.name}")}'),
  ]
  return '\n'.join(f'{name + ":":<8} {words}' for name, words in rows)
