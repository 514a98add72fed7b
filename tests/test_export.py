"""A run with adapters trains, resumes and is exported; transformers and PEFT go on from what is written."""

import json
import pathlib
import shutil
import subprocess
import sys

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

from llmi_jax import front, rebuild, wiring
from llmi_jax.checkpoint.checkpoints import Checkpoints
from llmi_jax.core.errors import ConfigError
from llmi_jax.data import tasks
from llmi_jax.data.builtin import generate
from llmi_jax.models import lora
from llmi_jax.update import state as states

ROOT = pathlib.Path(__file__).resolve().parents[1]
CONFIG = str(ROOT / 'configs' / 'grpo_tiny.py')
TINY = ROOT / 'llmi_jax' / 'assets' / 'tiny'


def run(module, *arguments):
  """Exit code and what is printed on standard error."""
  done = subprocess.run(
    [sys.executable, '-m', f'llmi_jax.{module}', *arguments],
    cwd=ROOT,
    capture_output=True,
    text=True,
    timeout=600,
    check=False,
  )
  return done.returncode, done.stderr


def train(workdir):
  values = {
    'steps': 2,
    'data.prompts': 2,
    'data.samples': 4,
    'data.eval': workdir.parent / 'few.parquet',
    'eval.samples': 1,
    'optimizer.widths': '(160,)',
    'checkpoint.every': 1,
    'policy.lora.rank': 8,
    'policy.lora.alpha': 8.0,
  }
  if not values['data.eval'].exists():
    tasks.save(generate.tasks('test')[:2], values['data.eval'])
  overrides = [f'--config.{key}={value}' for key, value in values.items()]
  return run('main', f'--config={CONFIG}', f'--workdir={workdir}', *overrides)


@pytest.fixture(scope='module')
def adapted(tmp_path_factory):
  """The work folder of a run with adapters."""
  workdir = tmp_path_factory.mktemp('run') / 'adapted'
  code, errors = train(workdir)
  assert code == 0, errors
  return workdir


@pytest.mark.slow
def test_adapters_are_trained_alone(adapted):
  summary = json.loads((adapted / 'summary.json').read_text())
  lines = [json.loads(line) for line in (adapted / 'metrics.jsonl').read_text().splitlines()]
  assert len(lines) == 2 and all(np.isfinite(line['loss/policy']) for line in lines)
  config, policy = wiring.trained(str(adapted))
  adapters = lora.adapters(policy.model)
  assert summary['params'] == sum(leaf.size for leaf in jax.tree.leaves(adapters))
  assert {path.rpartition('.')[2] for path in adapters} == {'q', 'k', 'v', 'o', 'gate', 'up', 'down'}
  assert all(np.abs(np.asarray(adapter.b)).max() > 0 for adapter in adapters.values())
  base = wiring.load_policy(config.policy.path).model
  fixed = lora.split(policy.model)[1]
  for a, b in zip(jax.tree.leaves(fixed), jax.tree.leaves(base), strict=True):
    np.testing.assert_array_equal(a, b)
  kept = json.loads((adapted / 'checkpoints' / 'step=2' / 'meta.json').read_text())['leaves']
  assert all('lora' in name for name in kept if '.params' in name)


@pytest.mark.slow
def test_it_goes_on_from_a_checkpoint_to_the_same_bits(adapted):
  again = shutil.copytree(adapted, adapted.parent / 'again')
  for name in ('checkpoints/step=2', 'eval'):
    shutil.rmtree(again / name)
  (again / 'summary.json').unlink()
  code, errors = train(again)
  assert code == 0 and 'Resuming' in errors, errors
  digests = [json.loads((folder / 'summary.json').read_text())['digest'] for folder in (adapted, again)]
  assert digests[0] == digests[1]


@pytest.mark.slow
def test_transformers_generates_from_the_export_and_peft_from_the_adapter(adapted, tmp_path):
  import torch
  from transformers import AutoModelForCausalLM, AutoTokenizer

  peft = pytest.importorskip('peft')
  merged, alone = tmp_path / 'merged', tmp_path / 'alone'
  code, errors = run('export', f'--policy={adapted}', f'--out={merged}', '--dtype=float32')
  assert code == 0, errors
  code, errors = run('export', f'--policy={adapted}', f'--out={alone}', '--adapter')
  assert code == 0, errors
  model = AutoModelForCausalLM.from_pretrained(merged, dtype='auto').eval()
  tokenizer = AutoTokenizer.from_pretrained(merged)
  chat = [{'role': 'user', 'content': 'Show a tabby cat in real life.'}]
  ids = tokenizer.apply_chat_template(
    chat, add_generation_prompt=True, return_tensors='pt', return_dict=False
  )
  made = model.generate(ids, max_new_tokens=8, do_sample=False)
  assert made.shape[1] > ids.shape[1] and tokenizer.decode(made[0, ids.shape[1] :])
  other = peft.PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(TINY), alone).eval()
  with torch.no_grad():
    torch.testing.assert_close(other(ids).logits, model(ids).logits, atol=1e-4, rtol=0)
  assert json.loads((alone / 'adapter_config.json').read_text())['base_model_name_or_path'] == str(TINY)


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
  """A work folder without adapters, as it is before the first step."""
  workdir = tmp_path_factory.mktemp('run') / 'whole'
  workdir.mkdir()
  config = front.read(CONFIG)
  (workdir / 'config.json').write_text(config.to_json())
  state = states.fresh(wiring.load_policy(config.policy.path).model, wiring.optimizer(config))
  checkpoints = Checkpoints(workdir / 'checkpoints')
  checkpoints.save(0, state, {})
  checkpoints.close()
  return workdir


def test_an_export_is_in_bfloat16_with_all_companions(whole, tmp_path):
  import ml_dtypes

  code, errors = run('export', f'--policy={whole}', f'--out={tmp_path / "out"}')
  assert code == 0, errors
  ours, source = (load_file(folder / 'model.safetensors') for folder in (tmp_path / 'out', TINY))
  assert ours.keys() == source.keys()
  for name, value in source.items():
    np.testing.assert_array_equal(ours[name], value.astype(ml_dtypes.bfloat16))
  assert {path.name for path in (tmp_path / 'out').iterdir()} == {path.name for path in TINY.iterdir()}


def test_mistakes_are_one_sentence(whole, tmp_path):
  code, errors = run('export', f'--policy={whole}', f'--out={tmp_path / "out"}', '--adapter')
  assert code == 2 and 'was trained without LoRA' in errors and 'Traceback' not in errors
  code, errors = run('export', f'--policy={whole}', f'--out={whole}')
  assert code == 2 and 'exists and is not empty' in errors and 'Traceback' not in errors
  with pytest.raises(ConfigError, match='exists and is not empty'):
    rebuild.make(whole)
