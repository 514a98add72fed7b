"""Compilations are announced with shapes, beat while they last, and are explained when they come again."""

import io
import re
import threading

from llmi_jax.terminal import compiles
from llmi_jax.terminal.compiles import Compiles
from llmi_jax.terminal.screen import Screen

SHAPES = {'params.a': 'float32[2,4]', 'rows.tokens': 'int32[8,64]', 'last': 'True'}


class Lines(io.StringIO):
  """Lets a test wait for what is said."""

  def __init__(self):
    super().__init__()
    self._said = threading.Condition()

  def write(self, text):
    with self._said:
      super().write(text)
      self._said.notify_all()
    return len(text)

  def until(self, words, count=1):
    with self._said:
      assert self._said.wait_for(lambda: self.getvalue().count(words) >= count, 20)


def test_a_slow_one_is_announced_beats_and_is_timed_apart_from_its_first_run():
  lines = Lines()
  heard = Compiles(Screen(lines), quiet=0.0, beat=0.01)
  heard.begins('gradients', SHAPES)
  lines.until('Compiling gradients (params float32[2,4], rows int32[8,64], last True) …')
  lines.until('s so far', 2)
  heard.compiled('gradients', 12.34, False)
  lines.until('Running for the first time: gradients')
  heard.ran('gradients', 0.5)
  assert 'gradients: compiled (not in the cache) in 12.3 s, first run 0.5 s.\n' in lines.getvalue()
  assert heard.seconds > 0


def test_quick_ones_are_counted_and_not_told():
  stream = io.StringIO()
  heard = Compiles(Screen(stream), quiet=60.0)
  heard.begins('add', {})
  heard.compiled('add', 0.01, True)
  heard.ran('add', None)
  assert stream.getvalue() == '' and heard.seconds > 0


def test_only_late_recompilations_are_explained():
  stream = io.StringIO()
  heard = Compiles(Screen(stream), quiet=60.0)
  for settled, width in ((False, 64), (False, 96), (True, 160)):
    if settled:
      heard.settle()
    heard.begins(
      'gradients', SHAPES | {'rows.tokens': f'int32[8,{width}]', 'rows.mask': f'float32[8,{width}]'}
    )
    heard.ran('gradients', None)
  for width in (64, 128):  # in several sizes by design
    heard.begins('decode', {'state': f'float32[{width}]'}, True)
    heard.ran('decode', None)
  heard.begins('new', SHAPES)
  heard.ran('new', None)
  (said,) = stream.getvalue().splitlines()
  assert said == (
    'Warning: gradients is compiled again: rows.tokens int32[8,96] → int32[8,160]; '
    'rows.mask float32[8,96] → float32[8,160].'
  )


def test_changes_are_told_once_for_arrays_alike():
  before = {f'kv.{i}': 'float32[4,128]' for i in range(6)}
  after = {f'kv.{i}': 'float32[4,160]' for i in range(6)}
  assert compiles.changed(before, after) == 'kv.0 and 5 more float32[4,128] → float32[4,160]'
  assert 'lie elsewhere' in compiles.changed(before, before)
  assert re.fullmatch('kv 20 arrays, 1.2 KiB', compiles.told({f'kv.{i}': 'int8[64]' for i in range(20)}))
