"""W&B and trackio: only where a config names them, only then imported, and never with a question.

Neither logs in by itself: W&B writes to the work folder (`wandb sync` sends it) unless WANDB_API_KEY is set;
trackio writes to its own folder.
"""

import importlib
import io
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import PIL.Image

from llmi_jax.core.errors import ConfigError
from llmi_jax.sinks.sink import Shown, Span

NAMES = ('wandb', 'trackio')


class Online:
  """A tracker with the interface that W&B has and trackio shares: `init`, `log`, `Image`, `finish`."""

  def __init__(self, tracker: Any, workdir: pathlib.Path, config: Mapping[str, Any]):
    self._tracker = tracker
    options: dict[str, Any] = {}
    if tracker.__name__ == 'wandb':
      os.environ.setdefault('WANDB_SILENT', 'true')
      mode = os.environ.get('WANDB_MODE') or ('online' if os.environ.get('WANDB_API_KEY') else 'offline')
      # One id per folder, so that a run that goes on stays one run.
      options = {'dir': str(workdir), 'mode': mode, 'id': workdir.resolve().name, 'resume': 'allow'}
    tracker.init(project='llmi_jax', name=workdir.resolve().name, config=dict(config), **options)

  def scalars(self, step: int, values: Mapping[str, float | None]) -> None:
    self._tracker.log({name: value for name, value in values.items() if value is not None}, step=step)

  def samples(self, step: int, shown: Sequence[Shown]) -> None:
    pictures = {
      f'samples/{place}/{number}': self._tracker.Image(_opened(png), caption=sample.id)
      for place, sample in enumerate(shown)
      for number, (png, *_) in enumerate(sample.pictures)
    }
    if pictures:
      self._tracker.log(pictures, step=step)

  def spans(self, step: int, spans: Sequence[Span]) -> None:
    """Not for trackers."""

  def go_back(self, step: int) -> None:
    """Trackers cannot forget; steps that come again are appended."""

  def close(self) -> None:
    self._tracker.finish()


def load(name: str) -> Any:
  """The tracker's module.

  Raises:
    ConfigError: it is not installed.
  """
  try:
    return importlib.import_module(name)
  except ImportError as error:
    raise ConfigError(
      f'config.sinks.names has {name!r}, which cannot be imported ({error}); '
      f'pip install "llmi_jax[{name}]", or leave it out.'
    ) from error


def _opened(png: bytes) -> PIL.Image.Image:
  # Our own pictures: decoded and encoded again before they were kept.
  return PIL.Image.open(io.BytesIO(png))
