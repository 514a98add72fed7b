"""However a run ends, its folder and the ways on are told; memory that is out is explained by part."""

import contextlib
import io
import pathlib
import sys

import jax
import jax.numpy as jnp
import pytest

from llmi_jax import budget, closing, front
from llmi_jax.core.errors import Interrupted, TrainingError
from llmi_jax.terminal.screen import Screen

ROOT = pathlib.Path(__file__).resolve().parents[1]
TINY = str(ROOT / 'configs' / 'grpo_tiny.py')


@pytest.mark.parametrize('error', [None, Interrupted('stopped'), TrainingError('no'), ZeroDivisionError()])
def test_every_ending_has_folder_report_and_commands(error, tmp_path):
  stream = io.StringIO()
  with contextlib.suppress(Interrupted, TrainingError, ZeroDivisionError):
    with closing.ended(Screen(stream), tmp_path, [True]):
      if error:
        raise error
  text = stream.getvalue()
  assert f'Report:  {tmp_path}/report.html' in text and (tmp_path / 'report.html').exists()
  assert f'python -m llmi_jax.view {tmp_path}' in text and ('nothing is left' in text) == (error is None)


def test_without_a_folder_there_is_no_ending(tmp_path):
  stream = io.StringIO()
  with closing.ended(Screen(stream), tmp_path, []), closing.ended(Screen(stream, 1), tmp_path, [True]):
    pass
  assert stream.getvalue() == '' and not list(tmp_path.iterdir())


def test_an_allocation_that_fails_is_three_lines(monkeypatch):
  monkeypatch.setattr(sys, 'argv', ['main'])
  config = front.read(TINY)
  with pytest.raises(TrainingError) as caught, closing.explained(config, pathlib.Path('w')):
    jax.block_until_ready(jnp.zeros((1 << 47,), jnp.int8))
  lines = str(caught.value).splitlines()
  assert len(lines) == 3 and 'Out of memory (' in lines[0] and 'parameters' in lines[0]
  assert lines[1].startswith('Largest buffers now: ') and '--config.optimizer.prompts=1 (it is 2)' in lines[2]


def test_parts_are_reckoned_from_shapes(monkeypatch):
  parts = budget.parts(front.read(TINY), 'builtin:tiny')
  size = (ROOT / 'llmi_jax/assets/tiny/model.safetensors').stat().st_size
  assert parts['moments'] == pytest.approx(2 * parts['parameters'], rel=0.001)
  assert parts['parameters'] == parts['gradients'] and parts['frozen parameters'] == 0
  assert size * 0.9 < parts['parameters'] < size * 2.1  # the file may be in halves
  adapters = budget.parts(front.read(TINY, ['--config.policy.lora.rank=2']), 'builtin:tiny')
  assert adapters['frozen parameters'] == parts['parameters'] > 20 * adapters['parameters']


def test_a_backbone_that_is_not_here_is_reckoned_from_its_name():
  config = front.read(
    str(ROOT / 'configs' / 'grpo_4b.py'), ['--config.mesh.fsdp=1', '--config.mesh.tensor=1']
  )
  parts = budget.parts(config, 'Qwen3-4B')
  assert parts['parameters'] == pytest.approx(4 * 4.02e9, rel=0.01)  # the tied model's numbers, in float32
  assert parts['generating copy'] == parts['parameters'] / 2
  found = [key.name for key in budget.keys(config, parts)]
  assert 0 < len(found) <= 3


@pytest.mark.parametrize(
  ('part', 'overrides', 'wanted'),
  [
    ('activations (about)', [], [('optimizer.prompts', 1), ('policy.remat', 'full')]),
    ('activations (about)', ['--config.optimizer.tokens=4096'], [('optimizer.tokens', 2048)]),
    ('logits', [], [('policy.logits', 1 << 23)]),
    ('reply cache', [], [('sampler.rows', 32)]),
    ('moments', [], [('optimizer.moments', 'bfloat16_first')]),
    ('parameters', [], [('policy.lora.rank', 16)]),
    ('reference policy', ['--config.loss.kl=0.1'], [('loss.kl', 0.0)]),
  ],
)
def test_each_part_has_its_keys(part, overrides, wanted):
  found = budget.keys(front.read(TINY, overrides), {part: 1e9, 'other': 1.0})
  assert [(key.name, key.value) for key in found][: len(wanted)] == wanted and len(found) <= 3
