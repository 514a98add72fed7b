"""Where a run speaks to people: lines, and on a terminal a status below them that redraws itself."""

import logging
import os
import sys
from types import TracebackType
from typing import TextIO

import rich.console
import rich.live
import rich.text

WIDTH = 160  # columns of a step's line, at most


class Screen:
  """Says lines. Processes behind the first say them to their log alone.

  On a terminal, a status stands below the lines while the screen is entered; elsewhere there are no escape
  codes and no carriage returns. `NO_COLOR` is honoured.
  """

  def __init__(self, stream: TextIO | None = None, process: int = 0):
    self.process = process
    self._stream = stream
    self._live: rich.live.Live | None = None

  @property
  def stream(self) -> TextIO:
    return self._stream or sys.stderr

  @property
  def redraws(self) -> bool:
    """Whether there is a terminal that can, and this process may."""
    return self.stream.isatty() and os.environ.get('TERM') != 'dumb' and not self.process

  def __enter__(self) -> 'Screen':
    if self.redraws:
      console = rich.console.Console(file=self.stream)
      self._live = rich.live.Live('', console=console, transient=True, refresh_per_second=2)
      self._live.start()
    return self

  def __exit__(
    self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
  ) -> None:
    if self._live is not None:
      self._live.stop()
      self._live = None

  def say(self, text: str) -> None:
    """Says whole lines, whatever their length."""
    if self.process:
      logging.getLogger('run').info('%s', text)  # no logger of this package: they lead here
    elif self._live is not None:
      self._live.console.print(text, markup=False, highlight=False, soft_wrap=True)
    else:
      print(text, file=self.stream, flush=True)

  def warn(self, text: str) -> None:
    """Says that something is amiss."""
    if self._live is not None:
      self._live.console.print(rich.text.Text(f'Warning: {text}', 'yellow'), soft_wrap=True)
    else:
      self.say(f'Warning: {text}')

  def status(self, text: str) -> None:
    """Replaces what stands below the lines; nothing where nothing redraws."""
    if self._live is not None:
      self._live.update(rich.text.Text(text, no_wrap=True, overflow='ellipsis'))


class Handler(logging.Handler):
  """Lets what this package logs be said."""

  def __init__(self, screen: Screen):
    super().__init__(logging.INFO)
    self._screen = screen

  def emit(self, record: logging.LogRecord) -> None:
    text = record.getMessage()
    if record.levelno >= logging.WARNING:
      self._screen.warn(text)
    else:
      self._screen.say(text)
