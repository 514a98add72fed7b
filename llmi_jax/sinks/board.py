"""TensorBoard: one folder of event files, opened at the first write, each event flushed."""

import io
import os
import pathlib
import socket
import textwrap
import time
from collections.abc import Mapping, Sequence
from typing import BinaryIO

from llmi_jax.sinks import events
from llmi_jax.sinks.sink import Shown, Span


class Board:
  """A folder of event files; a new one is opened whenever steps come again."""

  def __init__(self, folder: pathlib.Path):
    self._folder = folder
    self._file: BinaryIO | None = None
    self._purge: int | None = None

  def scalars(self, step: int, values: Mapping[str, float | None]) -> None:
    self._write(step, *(events.scalar(name, value) for name, value in values.items() if value is not None))

  def samples(self, step: int, shown: Sequence[Shown]) -> None:
    for place, sample in enumerate(shown):
      # As a block of code: TensorBoard would load pictures that Markdown of a policy names.
      words = textwrap.indent(f'{sample.id}\n\n{sample.text}', '    ', lambda line: True)
      self._write(step, events.text(f'samples/{place}', words))
      for number, (png, width, height) in enumerate(sample.pictures):
        self._write(step, events.image(f'samples/{place}/{number}', png, width, height))

  def spans(self, step: int, spans: Sequence[Span]) -> None:
    """Not for TensorBoard."""

  def go_back(self, step: int) -> None:
    """The next write opens a new file that hides events of later steps."""
    self.close()
    self._purge = step + 1

  def close(self) -> None:
    file, self._file = self._file, None
    if file is not None:
      file.close()

  def _write(self, step: int, *values: bytes) -> None:
    self._file = self._file or self._open()
    self._file.write(events.record(events.event(step, *values)))
    self._file.flush()

  def _open(self) -> BinaryIO:
    self._folder.mkdir(parents=True, exist_ok=True)
    # The process and a running number keep two files of one second apart.
    number = sum(1 for _ in self._folder.iterdir())
    name = f'events.out.tfevents.{time.time():.0f}.{socket.gethostname()}.{os.getpid()}.{number}'
    file = io.BufferedWriter(io.FileIO(self._folder / name, 'xb'))
    file.write(events.record(events.version()))
    if self._purge is not None:
      file.write(events.record(events.purge(self._purge)))
    return file
