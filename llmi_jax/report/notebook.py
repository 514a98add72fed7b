"""Rollouts in a notebook: the same view as in report and viewer, in a frame that runs nothing."""

import dataclasses
import os
import pathlib
from collections.abc import Iterator

from markupsafe import Markup

from llmi_jax.core.errors import DataError
from llmi_jax.data import rollouts
from llmi_jax.data.rollout import Rollout
from llmi_jax.report import shell
from llmi_jax.report.pictures import Pictures, from_folder
from llmi_jax.report.render import Sibling, render

HEIGHT = 760  # pixels of the frame
_BYTES = 16 << 20  # of pictures


@dataclasses.dataclass(frozen=True)
class Card:
  """A rollout that a notebook shows by itself."""

  rollout: Rollout
  page: str

  def _repr_html_(self) -> str:
    # Without `allow-scripts` and `allow-same-origin`, and under the page's own policy.
    frame = Markup('<iframe sandbox srcdoc="{}" title="{}" width="100%" height="{}"></iframe>')
    return str(frame.format(self.page, f'Rollout {self.rollout.address}', HEIGHT))


class Run:
  """A run's folder, opened in a notebook: `Run('runs/mine').show('11/lakes/4/3')`."""

  def __init__(self, workdir: str | os.PathLike, kind: rollouts.Kind = 'train'):
    self._workdir = pathlib.Path(workdir)
    self._folder = self._workdir / 'rollouts' / kind

  def rollouts(self) -> Iterator[Rollout]:
    """All of them, steps in order."""
    return rollouts.read(self._folder)

  def show(self, id: str) -> Card:
    """One of them by `step/task/sample`, its group beside it.

    Raises:
      DataError: there is none, or its file is broken.
    """
    table = rollouts.columns(self._folder, ['id', 'step', 'task', 'sample', 'reward', 'advantage'])
    rows = table.to_pylist()
    mine = next((row for row in rows if row['id'] == id), None)
    if mine is None:
      raise DataError(f'{self._folder} has no rollout {id}; its names are step/task/sample.')
    group = [row for row in rows if (row['step'], row['task']) == (mine['step'], mine['task'])]
    siblings = [Sibling(row['sample'], row['reward'], row['advantage']) for row in group]
    rollout = next(rollouts.read(self._folder, [id]))
    album = Pictures(from_folder(self._workdir), _BYTES, linked=False)
    return Card(rollout, shell.page(rollout.address, render(rollout, album, siblings=siblings)))
