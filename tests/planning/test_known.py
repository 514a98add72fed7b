"""What was found of a program is found again, and only of that program."""

import math

import jax
import jax.numpy as jnp

from llmi_jax.planning import account, known
from llmi_jax.planning.known import Known
from llmi_jax.planning.measured import Cost, Measured, Memory
from llmi_jax.programs.program import Program

FITS = Measured('add 8', Memory(1.0, 2.0, 0.5, 4.0), Cost(3.0, 5.0, {'fsdp': 2.0}), 0.0, 9.0)
LARGE = Measured('add 8', None, Cost(3.0, 0.0, {}), 7e9, 9.0)


def test_findings_come_back_as_they_were(tmp_path):
  kept = Known(tmp_path / 'plans', 'v5p:2x2x1')
  for text, found in (('one', FITS), ('two', LARGE)):
    assert kept.read(text) is None
    kept.write(text, found)
    assert kept.read(text) == found
  assert FITS.total == 6.5 and LARGE.total == 7e9
  assert Measured('x', None, LARGE.cost).total == math.inf


def test_another_program_slice_compiler_or_reader_is_another_finding(tmp_path, monkeypatch):
  kept = Known(tmp_path, 'v5p:2x2x1')
  kept.write('one', FITS)
  assert kept.read('other') is None and kept._replace(devices='v5p:2x2x2').read('one') is None
  with monkeypatch.context() as patch:
    patch.setattr(known, 'version', lambda name: f'{name} of tomorrow')
    assert kept.read('one') is None
  with monkeypatch.context() as patch:
    patch.setattr(known, '_looking', lambda: 'changed')
    assert kept.read('one') is None
  assert kept.read('one') == FITS


def test_what_is_damaged_or_cannot_be_written_is_as_if_it_were_not_there(tmp_path):
  kept = Known(tmp_path, 'cpu:1')
  kept.write('one', FITS)
  for words in ('', '{"name": "add 8"}', kept.path('one').read_text()[:-9]):
    kept.path('one').write_text(words)
    assert kept.read('one') is None
  barred = Known(tmp_path / 'file' / 'plans', 'cpu:1')
  (tmp_path / 'file').write_text('')
  barred.write('one', FITS)
  assert barred.read('one') is None


def test_a_program_is_compiled_once(tmp_path, monkeypatch):
  shape = jax.ShapeDtypeStruct((4, 4), jnp.float32)
  program = lambda scale: Program('double', jax.jit(lambda x: x @ x * scale), (shape,))
  kept, looked = Known(tmp_path, 'cpu:1'), []
  real = account._look
  monkeypatch.setattr(account, '_look', lambda *some: looked.append(some[0]) or real(*some))
  first = account.measure(program(2.0), None, kept)
  assert first.memory is not None and first.compiled_in > 0 and looked == ['double']
  assert account.measure(program(2.0), None, kept) == first and len(looked) == 1
  account.measure(program(3.0), None, kept)
  assert len(looked) == 2
