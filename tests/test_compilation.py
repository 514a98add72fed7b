"""Compilations are told of before they begin, with shapes, once each, and apart from the first execution."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest

from llmi_jax import compilation


class Heard:
  def __init__(self):
    self.said = []

  def begins(self, name, shapes, sized):
    self.said.append(('begins', name, dict(shapes)))

  def compiled(self, name, seconds, cached):
    assert seconds > 0
    self.said.append(('compiled', name, cached))

  def ran(self, name, seconds):
    self.said.append(('ran', name, seconds is not None))


@pytest.fixture
def heard():
  listener = Heard()
  with compilation.listening(listener):
    yield listener


def doubled(x, rows):
  # Told of while it is traced, so before it is compiled.
  return x * rows['a']


def test_a_program_is_told_of_once_per_shape(heard):
  program = compilation.jit('double', doubled)
  rows = {'a': jnp.float32(2.0)}
  for x in (jnp.ones(3), jnp.ones(3), jnp.ones(4)):
    program(x, rows)
  said = [one for one in heard.said if one[1] == 'double']
  assert [one[0] for one in said] == ['begins', 'compiled', 'ran'] * 2
  assert said[0][2] == {'x': 'float32[3]', 'rows.a': 'float32[]'} and said[3][2]['x'] == 'float32[4]'
  assert said[2][2] is True


def test_programs_without_a_name_are_told_of_by_that_of_their_function(heard):
  def unnamed(x):
    return jnp.cos(x) * 3

  jax.jit(unnamed)(jnp.ones(5))
  assert [one[0] for one in heard.said if one[1] == 'unnamed'] == ['begins', 'compiled', 'ran']
  assert ('ran', 'unnamed', False) in heard.said


def test_a_program_within_another_is_no_program_of_its_own(heard):
  inner = compilation.jit('inner', lambda x: x + 1)
  outer = compilation.jit('outer', lambda x: inner(x) * 2)
  x = jnp.ones(6)
  assert jax.eval_shape(inner, x).shape == (6,)
  inner.lower(x)
  heard.said.clear()
  outer(x)
  assert {one[1] for one in heard.said} == {'outer'}


def test_a_failure_ends_what_began(heard):
  def fails(x):
    raise ValueError('no')

  with pytest.raises(ValueError, match='no'):
    compilation.jit('fails', fails)(jnp.ones(2))
  assert [one for one in heard.said if one[1] == 'fails'] == [
    ('begins', 'fails', {'x': 'float32[2]'}),
    ('ran', 'fails', False),
  ]
  compilation.jit('works', doubled)(jnp.ones(2), {'a': jnp.ones(2)})
  assert heard.said[-1] == ('ran', 'works', True)


def test_nobody_listens_afterwards():
  listener = Heard()
  with compilation.listening(listener):
    pass
  compilation.jit('late', doubled)(jnp.ones(9), {'a': jnp.ones(9)})
  assert listener.said == []


def test_what_the_cache_has_is_said_to_come_from_it(tmp_path):
  script = compilation.jit('kept', lambda x: jnp.sin(x) @ jnp.cos(x))
  old = jax.config.jax_compilation_cache_dir, jax.config.jax_persistent_cache_min_compile_time_secs
  jax.config.update('jax_compilation_cache_dir', str(tmp_path))
  jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.0)
  try:
    found = []
    for _ in range(2):
      listener = Heard()
      with compilation.listening(listener):
        script(jnp.ones((7, 7)))
      found.append([one[2] for one in listener.said if one[:2] == ('compiled', 'kept')])
      jax.clear_caches()
    assert found == [[False], [True]]
  finally:
    jax.config.update('jax_compilation_cache_dir', old[0])
    jax.config.update('jax_persistent_cache_min_compile_time_secs', old[1])


def test_programs_are_kept_where_jax_was_told_to_else_where_we_say(tmp_path):
  script = (
    'import jax, pathlib; from llmi_jax import compilation; '
    f'compilation.keep(pathlib.Path({str(tmp_path)!r})); print(jax.config.jax_compilation_cache_dir)'
  )

  def kept(**told):
    environment = {k: v for k, v in os.environ.items() if k != 'JAX_COMPILATION_CACHE_DIR'} | told
    run = subprocess.run([sys.executable, '-c', script], env=environment, capture_output=True, check=True)
    return run.stdout.decode().strip()

  assert kept(JAX_COMPILATION_CACHE_DIR='/elsewhere') == '/elsewhere'
  assert kept() == str(tmp_path)
