"""The plan as a user asks for it: tables of a small recipe, and what does not fit."""

import os
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]


def plan(config, topology, *arguments):
  """Exit code, what is printed, and errors."""
  command = [sys.executable, '-m', 'llmi_jax.plan', f'--topology={topology}']
  command += [f'--config={ROOT / "configs" / config}'] if config else []
  done = subprocess.run(
    [*command, *arguments],
    cwd=ROOT,
    env={**os.environ, 'JAX_PLATFORMS': 'cpu'},
    capture_output=True,
    text=True,
    timeout=580,
    check=False,
  )
  return done.returncode, done.stdout, done.stderr


def cells(text, first):
  """The cells of a table's row."""
  row = next(line for line in text.splitlines() if line.startswith(f'| {first} '))
  return [cell.strip() for cell in row.strip('|').split('|')][1:]


def test_slices_are_listed():
  code, words, _ = plan('', 'help')
  assert code == 0 and 'v5p:4x4x4' in words and 'cpu:N' in words


@pytest.mark.parametrize(
  ('config', 'topology', 'arguments', 'said'),
  [
    ('grpo_4b.py', 'v5p:5x5', (), 'There is no slice v5p:5x5'),
    ('grpo_4b.py', 'cpu:8', ('--config.policy.path=nowhere',), 'one of Qwen2.5-VL-32B, Qwen2.5-VL-7B, Qwen3'),
    ('grpo_4b.py', 'cpu:6', ('--config.mesh.tensor=3',), 'cannot be cut into 3 equal pieces'),
  ],
)
def test_mistakes_are_one_sentence(config, topology, arguments, said):
  code, _, errors = plan(config, topology, *arguments)
  lines = [line for line in errors.splitlines() if line.startswith('Error: ')]
  assert code == 2 and len(lines) == 1 and said in lines[0] and 'Traceback' not in errors, errors


@pytest.mark.slow
def test_a_small_recipe_on_eight_host_devices():
  arguments = ('--config.mesh.fsdp=4', '--config.mesh.tensor=2', '--mean_response=60', '--mean_prompt=200')
  code, words, errors = plan('grpo_tiny.py', 'cpu:8', *arguments)
  assert code == 0, errors
  sampling, learning = (float(cell) for cell in cells(words, 'parameters'))
  # 1.3 M float32 numbers, of which all but norms are cut eight ways.
  assert sampling == learning and 1.2e6 * 4 / 8 < sampling * 2**30 < 1.6e6 * 4 / 8 + 2e4
  assert float(cells(words, 'optimizer')[0]) == pytest.approx(2 * sampling, rel=0.02)
  assert float(cells(words, 'gradients')[1]) == pytest.approx(sampling, rel=0.02)
  programs = re.findall(r'^\| (?:sampling|learning) \| ([\w ]+) \| (\d+) ', words, re.M)
  assert ('decode 128', '60') in programs and ('add 64', '1') in programs
  assert 'fsdp' in cells(words, 'learning')[3] or 'fsdp' in words
  assert 'Largest micro-batch: 2 prompts per shard' in words and 'Estimated: ' in words


@pytest.mark.slow
def test_what_does_not_fit_is_named_with_the_key_to_change():
  arguments = (
    '--config.data.samples=8',
    '--config.sampler.tokens=65536',
    '--config.optimizer.widths=(65536,)',
  )
  code, words, errors = plan('grpo_tiny.py', 'cpu:1', *arguments, '--mean_response=64')
  assert code == 2 and '| **in all**' in words
  assert re.search(r'Error: \w+ needs [\d.]+ GiB of the 8.0 that a cpu has, most of it .*; .*sampler', errors)


@pytest.mark.slow
@pytest.mark.parametrize('form', ['gspo_30b_a3b.py:runlocal', 'grpo_vl_7b.py:runlocal'])
def test_a_small_recipe_on_a_slice_that_is_not_there(form):
  pytest.importorskip('libtpu', reason='the compiler for TPUs is not installed')
  code, words, errors = plan(form, 'tpu7x:2x2x1', '--mean_response=60', '--config.mesh.fsdp=4')
  assert code == 0, errors
  assert 'the compiler is that of the chip' in words and '4 prompts' in words
