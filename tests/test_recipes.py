"""The four recipes: the paper's figures stand in them, and each runs here with a small policy of its form."""

import json
import pathlib
import signal
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from llmi_jax import course, forms, front, updating, wiring
from llmi_jax.core.errors import ConfigError
from llmi_jax.models import decoder
from llmi_jax.models.decoder import Decoder
from llmi_jax.models.registry import from_hf
from tests.test_main import finish, start, wait_for_step

ROOT = pathlib.Path(__file__).resolve().parents[1]
RECIPES = {
  'grpo_4b': 'Qwen3-4B',
  'gspo_30b_a3b': 'Qwen3-30B-A3B',
  'grpo_vl_7b': 'Qwen2.5-VL-7B',
  'grpo_vl_32b': 'Qwen2.5-VL-32B',
}
ALL = pytest.mark.parametrize('name', RECIPES)
# Of the released scripts; the 32B has none and is as the 7B.
PAPER = {
  'data.samples': 8,
  'optimizer.learning_rate': 1e-6,
  'optimizer.final': 0.01,
  'optimizer.weight_decay': 0.1,
  'optimizer.b1': 0.9,
  'optimizer.b2': 0.999,
  'optimizer.clip': 1.0,
  'optimizer.updates': 1,
  'loss.advantage': 'grpo',
  'loss.kl': 0.0,
  'loss.entropy': 0.0,
  'sampler.temperature': 1.0,
  'eval.every': 10,
  'checkpoint.every': 10,
  'epochs': 1,
}
GRPO = {
  'data.prompts': 32,
  'loss.ratio': 'token',
  'loss.aggregation': 'token_mean',
  'loss.clip_low': 0.2,
  'loss.clip_high': 0.2,
  'loss.clip_dual': 10.0,
}
TEXT = {'prompt.tokens': 8192, 'sampler.tokens': 24_576}
SEEING = {'prompt.tokens': 16_384, 'sampler.tokens': 16_384, 'prompt.pixels': 1_048_576}
OWN = {
  'grpo_4b': {**GRPO, **TEXT, 'optimizer.warmup': 5},
  'gspo_30b_a3b': {
    **TEXT,
    'data.prompts': 16,
    'loss.ratio': 'sequence',
    'loss.aggregation': 'seq_mean_token_mean',
    'loss.clip_low': 3e-4,
    'loss.clip_high': 4e-4,
    'loss.clip_dual': 0.0,
    'optimizer.warmup': 6,
  },
  'grpo_vl_7b': {**GRPO, **SEEING, 'optimizer.warmup': 4},
  'grpo_vl_32b': {**GRPO, **SEEING, 'optimizer.warmup': 4},
}


def read(name, *overrides):
  return front.read(str(ROOT / 'configs' / name), overrides)


@pytest.mark.parametrize('path', sorted((ROOT / 'configs').glob('*.py')), ids=lambda path: path.stem)
def test_every_config_can_be_read(path):
  if 'def get_config' not in path.read_text():
    assert path.stem in ('__init__', 'judges', 'recipes', 'tools')
    return
  assert dict(front.flatten(read(path.name)))


@ALL
def test_the_papers_figures_stand_in_a_recipe(name):
  found = dict(front.flatten(read(f'{name}.py')))
  wanted = PAPER | OWN[name] | {'policy.path': RECIPES[name]}
  assert {key: found[key] for key in wanted} == wanted
  preset = wiring.reward(read(f'{name}.py').reward)
  assert (preset.rule, preset.llm, preset.mllm, preset.gate) == (0.2, 0.5, 0.3, 'paper')
  assert (preset.form.text, preset.form.tag) == ((1.5, 0.5) if 'vl' in name else (1.4, 0.6))
  known = dict(front.flatten(read('grpo_tiny.py'))).keys()
  assert all(key in known or key.startswith('tools.') for key in found)


@ALL
def test_a_recipe_says_at_once_what_it_is_and_makes_sense(name):
  first = (ROOT / 'configs' / f'{name}.py').read_text().splitlines()[0]
  assert RECIPES[name] in first and name[:4].upper() in first and 'chips (' in first
  config = read(f'{name}.py')
  assert updating.micro_batches(config).widths[-1] == config.sampler.tokens
  assert (
    wiring.dtype(config, 'sampler.compute') == wiring.dtype(config, 'sampler.cache') == jnp.bfloat16
    and 0 < course.groups(config) <= config.data.prompts
  )


@ALL
def test_shapes_of_its_policy_are_known(name):
  fields = json.loads((ROOT / 'llmi_jax/assets/backbones' / f'{RECIPES[name]}.json').read_text())
  config = from_hf(fields)
  shapes = jax.eval_shape(lambda: Decoder(config, jax.random.key(0)))
  count = sum(leaf.size for leaf in jax.tree.leaves(shapes))
  # As their cards say, a tied embedding counted once.
  wanted = {'grpo_4b': 4.02e9, 'gspo_30b_a3b': 30.53e9, 'grpo_vl_7b': 8.29e9, 'grpo_vl_32b': 33.45e9}[name]
  assert abs(count / wanted - 1) < 2e-3
  assert (config.experts is not None, config.vision is not None) == ('a3b' in name, 'vl' in name)


def test_steps_follow_from_epochs():
  config = read(
    'grpo_tiny.py', '--config.epochs=2', '--config.data.prompts=32', '--config.data.train=builtin:test'
  )
  course.settle(config)
  tasks = len(wiring.load_tasks('builtin:test'))
  assert config.steps == 2 * tasks // 32 and (config.steps + 1) * 32 > 2 * tasks
  with pytest.raises(ConfigError, match=rf'has {tasks} tasks and a step takes {tasks + 1}'):
    course.settle(
      read(
        'grpo_tiny.py',
        '--config.epochs=1',
        f'--config.data.prompts={tasks + 1}',
        '--config.data.train=builtin:test',
      )
    )


def test_rows_at_once_hold_whole_prompts():
  groups = lambda rows: course.groups(read('grpo_tiny.py', f'--config.sampler.rows={rows}'))
  assert [groups(rows) for rows in (0, 8, 20, 999)] == [8, 1, 2, 8]
  with pytest.raises(ConfigError, match=r'sampler\.rows is 7 and a prompt has 8 responses'):
    groups(7)
  with pytest.raises(ConfigError, match='known are float32, bfloat16'):
    wiring.dtype(read('grpo_tiny.py', '--config.sampler.compute=float8'), 'sampler.compute')


def test_an_unknown_form_is_told(tmp_path):
  with pytest.raises(ConfigError, match="'round'; known are experts, seeing"):
    forms.make(tmp_path / 'policy', 'round')


@pytest.mark.slow
def test_experts_that_are_copies_write_as_the_original_does(tmp_path):
  forms.make(tmp_path / 'policy', 'experts')
  tokens = np.random.default_rng(0).integers(0, 1000, (2, 9)).astype(np.int32)
  made, dense = wiring.load_policy(str(tmp_path / 'policy')), wiring.load_policy('builtin:tiny')
  assert made.config.experts is not None and made.tokenizer.digest == dense.tokenizer.digest
  np.testing.assert_allclose(_logits(made, tokens), _logits(dense, tokens), atol=1e-4)


def _logits(policy, tokens):
  """[B, T, V]."""
  positions = jnp.broadcast_to(jnp.arange(tokens.shape[1]), tokens.shape)
  positions = positions if policy.config.vision is None else jnp.broadcast_to(positions, (3, *tokens.shape))
  lengths = jnp.full(len(tokens), tokens.shape[1])
  run = jax.jit(lambda model: decoder.forward(model, tokens, positions, lengths, config=policy.config)[0])
  return np.asarray(decoder.unembed(policy.model, run(policy.model)))


@pytest.mark.slow
@ALL
def test_it_trains_is_stopped_goes_on_and_is_exported(name, tmp_path):
  few = [
    '--config.steps=3',
    '--config.checkpoint.every=1',
    '--config.eval.tasks=2',
    '--config.eval.every=0',
    '--config.optimizer.widths=(160,)',
    '--config.optimizer.learning_rate=1e-4',
  ]
  config, workdir = str(ROOT / 'configs' / f'{name}.py:runlocal'), tmp_path / 'run'
  process = start(workdir, *few, config=config)
  wait_for_step(workdir, 1, process)
  process.send_signal(signal.SIGTERM)
  code, errors = finish(process)
  assert code == 130 and 'Stopped after step' in errors, errors
  code, errors = finish(start(workdir, *few, config=config))
  assert code == 0 and 'Resuming' in errors, errors
  lines = [json.loads(line) for line in (workdir / 'metrics.jsonl').read_text().splitlines()]
  assert [line['step'] for line in lines] == [1, 2, 3]
  assert all(np.isfinite(line['loss/policy']) and line['rollout/unscorable'] == 0 for line in lines)
  assert any(line['grad_norm'] > 0 for line in lines)
  _, policy = wiring.trained(str(workdir))
  start_policy = wiring.load_policy(wiring.policy_source(read(f'{name}.py:runlocal'), workdir))
  moved = [
    float(np.abs(np.asarray(a) - np.asarray(b)).max())
    for a, b in zip(jax.tree.leaves(policy.model), jax.tree.leaves(start_policy.model), strict=True)
  ]
  assert max(moved) > 0
  _check_export(workdir, policy, tmp_path / 'out')


def _check_export(workdir, policy, out):
  """Transformers computes of the exported folder what the trained policy computes."""
  import torch
  from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

  command = [
    sys.executable,
    '-m',
    'llmi_jax.export',
    f'--policy={workdir}',
    f'--out={out}',
    '--dtype=float32',
  ]
  done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
  assert done.returncode == 0, done.stderr
  kind = AutoModelForCausalLM if policy.config.vision is None else AutoModelForImageTextToText
  tokens = np.random.default_rng(1).integers(0, 1000, (1, 12)).astype(np.int32)
  with torch.no_grad():
    found = kind.from_pretrained(out, dtype='auto').eval()(torch.tensor(tokens, dtype=torch.long)).logits
  np.testing.assert_allclose(found.numpy(), _logits(policy, tokens), atol=2e-3)
