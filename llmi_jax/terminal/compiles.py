"""Compilations on the screen: announced, timed apart from the first execution, explained if they recur."""

import re
import threading
import time
from collections.abc import Mapping

from llmi_jax.terminal.screen import Screen

QUIET = 0.5  # seconds; what takes less is not worth a line
BEAT = 30.0  # seconds between two signs of life
_MOST = 6  # shapes of a line


class Compiles:
  """A `compilation.Listener`; called from any thread.

  Programs are announced unless they are there at once, with a sign of life every `beat` seconds.

  Attributes:
    seconds: spent on compilations and first executions so far.
  """

  def __init__(self, screen: Screen, quiet: float = QUIET, beat: float = BEAT):
    self._screen, self._quiet, self._beat = screen, quiet, beat
    self._lock = threading.Lock()
    self._known: dict[str, Mapping[str, str]] = {}
    self._under_way: dict[int, _UnderWay] = {}
    self._settled = False
    self.seconds = 0.0

  def settle(self) -> None:
    """From now on, a program that is compiled again is explained: all of one size should have been by now."""
    self._settled = True

  def begins(self, name: str, shapes: Mapping[str, str], sized: bool = False) -> None:
    with self._lock:
      before = self._known.get(name)
      if shapes:
        self._known[name] = shapes
    if self._settled and before is not None and not sized:
      self._screen.warn(f'{name} is compiled again: {changed(before, shapes)}.')
    words = f'{name} ({told(shapes)})' if shapes else name
    mine = _UnderWay(self._screen, words, self._quiet, self._beat)
    self._under_way[threading.get_ident()] = mine
    mine.start()

  def compiled(self, name: str, seconds: float, cached: bool) -> None:
    mine = self._under_way[threading.get_ident()]
    mine.how = f'{"read from the cache" if cached else "compiled (not in the cache)"} in {seconds:.1f} s'
    mine.what = 'Running for the first time:'

  def ran(self, name: str, seconds: float | None) -> None:
    mine = self._under_way.pop(threading.get_ident())
    mine.stop()
    with self._lock:
      self.seconds += time.monotonic() - mine.began
    if mine.announced and mine.how:
      self._screen.say(f'{name}: {mine.how}' + ('.' if seconds is None else f', first run {seconds:.1f} s.'))


class _UnderWay:
  """One compilation, and the thread that tells of it."""

  def __init__(self, screen: Screen, words: str, quiet: float, beat: float):
    self._screen, self._words, self._waits = screen, words, (quiet, beat)
    self._done = threading.Event()
    self._thread = threading.Thread(target=self._tell, name='compile', daemon=True)
    self.began = time.monotonic()
    self.announced = False
    self.what, self.how = 'Compiling', ''

  def start(self) -> None:
    self._thread.start()

  def stop(self) -> None:
    self._done.set()

  def _tell(self) -> None:
    quiet, beat = self._waits
    if self._done.wait(quiet):
      return
    self.announced = True
    self._screen.say(f'{self.what} {self._words} …')
    while not self._done.wait(beat):
      self._screen.say(f'{self.what} {self._words}: {time.monotonic() - self.began:.0f} s so far …')


def told(shapes: Mapping[str, str]) -> str:
  """Arguments in few words: a small one's shapes, a large one's number of arrays."""
  arguments: dict[str, list[str]] = {}
  for path, shape in shapes.items():
    arguments.setdefault(path.partition('.')[0], []).append(shape)
  words = []
  for name, own in arguments.items():
    arrays = [shape for shape in own if '[' in shape]
    if len(own) > _MOST:
      words.append(f'{name} {len(own)} arrays, {_size(sum(map(_bytes, arrays)))}')
    elif own:
      words.append(f'{name} {" ".join(own)}')
  return ', '.join(words)


def changed(before: Mapping[str, str], after: Mapping[str, str]) -> str:
  """What of a program's arguments is not as it was."""
  paths = [p for p in (*after, *(p for p in before if p not in after)) if before.get(p) != after.get(p)]
  if not paths:
    return 'its arguments have the same shapes and lie elsewhere'
  pairs: dict[tuple[str, str], list[str]] = {}
  for path in paths:
    pairs.setdefault((before.get(path, 'none'), after.get(path, 'none')), []).append(path)
  words = [
    f'{own[0]}{f" and {len(own) - 1} more" if own[1:] else ""} {old} → {new}'
    for (old, new), own in list(pairs.items())[:3]
  ]
  return '; '.join(words) + (f'; {len(pairs) - 3} further changes' if len(pairs) > 3 else '')


def _bytes(shape: str) -> int:
  kind, _, rest = shape.partition('[')
  width = re.search(r'(\d+)$', kind)
  count = 1
  for size in filter(None, rest.rstrip(']').split(',')):
    count *= int(size)
  return count * (int(width[1]) // 8 if width else 1)


def _size(count: int) -> str:
  for unit, name in ((2**30, 'GiB'), (2**20, 'MiB'), (2**10, 'KiB')):
    if count >= unit:
      return f'{count / unit:.1f} {name}'
  return f'{count} B'
