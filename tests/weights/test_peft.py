"""Adapters go to PEFT and come back; both compute the same."""

import functools
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file

from llmi_jax.core.errors import ConfigError, WeightsError
from llmi_jax.models import decoder, lora
from llmi_jax.weights import peft as ours
from llmi_jax.weights.load import load_pretrained
from tests.weights.conftest import rewrite

peft = pytest.importorskip('peft')
torch = pytest.importorskip('torch')
IDS = np.arange(2, 20, dtype=np.int32)[None]
DENSE, EXPERTS = ('attention.*', 'mlp.*'), ('attention.q', 'attention.o', 'moe.*')


@functools.partial(jax.jit, static_argnames='config')
def _logits(model, config):
  positions = jnp.arange(IDS.shape[1], dtype=jnp.int32)[None]
  hidden, _, _ = decoder.forward(model, jnp.asarray(IDS), positions, jnp.array([IDS.shape[1]]), config=config)
  return decoder.unembed(model, hidden)


def _theirs(model):
  with torch.no_grad():
    return model(torch.tensor(IDS).long()).logits.numpy()


def _fresh(folder):
  import transformers

  name = json.loads((folder / 'config.json').read_text())['architectures'][0]
  return getattr(transformers, name).from_pretrained(folder, dtype=torch.float32).eval()


def _adapted(folder, targets, rank=4, alpha=6.0):
  """A model with adapters that change something."""
  model, config = load_pretrained(folder)
  trained, fixed = lora.split(lora.add(model, jax.random.key(0), rank, alpha, targets))
  rng = np.random.default_rng(1)
  noisy = jax.tree.map(lambda leaf: leaf + rng.normal(0, 0.1, leaf.shape).astype(np.float32), trained)
  return model, lora.join(noisy, fixed), config


@pytest.mark.parametrize(
  ('kind', 'targets'),
  [
    ('tiny_hf', DENSE),
    ('tiny_hf', ('attention.v',)),
    ('seeing_hf', DENSE),
    ('seeing_hf', ('spans.*.mlp.*', 'tower.merger_up', 'qkv')),
    ('sparse_hf', EXPERTS),
    ('sparse_hf', ('moe.down',)),
    ('moe_hf', EXPERTS),
    ('moe_hf', ('spans.1.0.attention.k', 'moe.router')),
  ],
)
def test_peft_loads_ours_and_computes_the_same(kind, targets, tmp_path, request, recwarn):
  folder, original = request.getfixturevalue(kind)
  base, model, config = _adapted(folder, targets)
  ours.save_adapter(model, config, tmp_path / 'out', base=str(folder))
  theirs = peft.PeftModel.from_pretrained(_fresh(folder), tmp_path / 'out').eval()
  assert not [str(w.message) for w in recwarn if 'missing adapter keys' in str(w.message)]
  np.testing.assert_allclose(_logits(model, config), _theirs(theirs), atol=1e-4)
  assert np.abs(_theirs(theirs) - _theirs(original)).max() > 0.01
  # What PEFT writes of it is read as it was.
  theirs.save_pretrained(tmp_path / 'again')
  again = ours.load_adapter(base, config, tmp_path / 'again')
  assert jax.tree.structure(again) == jax.tree.structure(model)
  for a, b in zip(jax.tree.leaves(again), jax.tree.leaves(model)):
    np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
  ('kind', 'options'),
  [
    ('tiny_hf', {'target_modules': ['q_proj', 'down_proj'], 'use_rslora': True}),
    (
      'tiny_hf',
      {'target_modules': 'all-linear', 'alpha_pattern': {'k_proj': 3}, 'rank_pattern': {'v_proj': 2}},
    ),
    ('sparse_hf', {'target_modules': ['v_proj', 'gate_proj', 'up_proj', 'down_proj', 'gate']}),
    (
      'sparse_hf',
      {'target_modules': [], 'target_parameters': ['mlp.experts.gate_up_proj', 'mlp.experts.down_proj']},
    ),
    ('moe_hf', {'target_modules': [], 'target_parameters': ['mlp.experts.gate_up_proj']}),
    ('seeing_hf', {'target_modules': ['q_proj', 'qkv', 'down_proj']}),
    ('moe_hf', {'target_modules': ['o_proj'], 'target_parameters': ['mlp.experts.down_proj']}),
  ],
)
def test_we_load_theirs_and_compute_the_same(kind, options, tmp_path, request):
  folder, _ = request.getfixturevalue(kind)
  torch.manual_seed(1)
  config = peft.LoraConfig(r=4, lora_alpha=6, **options)
  theirs = peft.get_peft_model(_fresh(folder), config).eval()
  with torch.no_grad():
    for name, parameter in theirs.named_parameters():
      if 'lora_' in name:
        parameter.add_(torch.randn_like(parameter) * 0.1)
  theirs.save_pretrained(tmp_path / 'out')
  base, config = load_pretrained(folder)
  model = ours.load_adapter(base, config, tmp_path / 'out')
  np.testing.assert_allclose(_logits(model, config), _theirs(theirs), atol=1e-4)
  np.testing.assert_allclose(_logits(lora.merge(model), config), _theirs(theirs), atol=1e-4)
  assert np.abs(_logits(base, config) - _theirs(theirs)).max() > 0.01


def test_an_adapter_on_a_mesh_is_split_like_its_base(sharded, moe_hf, tmp_path):
  _, model, config = _adapted(moe_hf[0], EXPERTS)
  ours.save_adapter(model, config, tmp_path / 'one')
  base, layout, _ = sharded
  split = ours.load_adapter(base, config, tmp_path / 'one', layout)
  adapter = lora.adapters(split)['spans.1.0.moe.gate']
  assert adapter.a.sharding == layout.sharding(('layer', 'experts', 'expert_width', 'rank'))
  assert adapter.b.sharding == layout.sharding(('layer', 'experts', 'rank', 'expert_ff'))
  ours.save_adapter(split, config, tmp_path / 'many')
  one, many = ((tmp_path / name / 'adapter_model.safetensors').read_bytes() for name in ('one', 'many'))
  assert one == many


def test_what_peft_has_no_form_for_is_refused(moe_hf, tmp_path):
  model, config = load_pretrained(moe_hf[0])
  with pytest.raises(ConfigError, match='0 ranks'):
    ours.save_adapter(model, config, tmp_path / 'out')
  for targets, words in ((('mlp.*',), 'dense MLPs'), (('moe.gate', 'moe.up'), 'or on down alone')):
    adapted = lora.add(model, jax.random.key(0), 2, 2.0, targets)
    with pytest.raises(ConfigError, match=words):
      ours.save_adapter(adapted, config, tmp_path / 'out')
  assert not (tmp_path / 'out').exists()


@pytest.fixture
def saved(tiny_hf, tmp_path):
  base, model, config = _adapted(tiny_hf[0], DENSE)
  ours.save_adapter(model, config, tmp_path / 'adapter')
  return base, config, tmp_path / 'adapter'


A = 'base_model.model.model.layers.1.self_attn.q_proj.lora_A.weight'
B = A.replace('lora_A', 'lora_B')


@pytest.mark.parametrize(
  ('change', 'words'),
  [
    (lambda t: t.pop(A), 'lora_B.weight without its other half'),
    (lambda t: (t.pop(A), t.pop(B)), 'lacks an adapter of model.layers.1.self_attn.q_proj'),
    (lambda t: t.update(extra=t[A]), 'holds extra, which a Qwen3ForCausalLM has no place for'),
    (lambda t: t.update({A.replace('.1.', '.9.'): t[A]}), 'layers.9.self_attn.q_proj.lora_A.weight, which'),
    (lambda t: t.update({A: t[A][:2]}), r'shapes \[2, 32\] and \[64, 4\]; \[4, 32\] and \[64, 4\]'),
    (lambda t: t.update({A: t[A][0]}), 'with 1 axes'),
    (lambda t: t.update({A: t[A].astype(np.float64)}), 'as F64; supported are'),
    (lambda t: t.update({A.replace('model.layers', 'model.language_model.layers'): t[A]}), 'again'),
    (lambda t: t.clear(), 'without tensors'),
  ],
)
def test_wrong_tensors_are_named(saved, change, words):
  base, config, folder = saved
  rewrite(folder, change, 'adapter_model.safetensors')
  with pytest.raises(WeightsError, match=words):
    ours.load_adapter(base, config, folder)


@pytest.mark.parametrize(
  ('change', 'words'),
  [
    ({'use_dora': True}, 'use_dora=True, which is not supported'),
    ({'bias': 'all'}, "bias='all'"),
    ({'init_lora_weights': 'pissa'}, "init_lora_weights='pissa'"),
    ({'modules_to_save': ['lm_head']}, 'modules_to_save'),
    ({'peft_type': 'IA3'}, 'does not describe a LoRA adapter'),
    ({'lora_alpha': 'much'}, 'no usable lora_alpha'),
    ({'alpha_pattern': {'(': 3}}, 'no usable lora_alpha'),
    ({'alpha_pattern': {'layers.0.self_attn.q_proj': 3}}, 'has a scale of its own'),
  ],
)
def test_wrong_configs_are_told(saved, change, words):
  base, config, folder = saved
  path = folder / 'adapter_config.json'
  path.write_text(json.dumps(json.loads(path.read_text()) | change))
  with pytest.raises(WeightsError, match=words):
    ours.load_adapter(base, config, folder)


def test_other_folders_are_told(saved, tmp_path):
  base, config, folder = saved
  with pytest.raises(WeightsError, match='cannot be read'):
    ours.load_adapter(base, config, tmp_path)
  bare = shutil.copytree(folder, tmp_path / 'bare')
  (bare / 'adapter_model.safetensors').unlink()
  with pytest.raises(WeightsError, match='holds neither adapter_model'):
    ours.load_adapter(base, config, bare)
  (bare / 'adapter_config.json').write_text('{')
  with pytest.raises(WeightsError, match='is not JSON'):
    ours.load_adapter(base, config, bare)
  assert len(load_file(folder / 'adapter_model.safetensors')) == 2 * 7 * config.layers
