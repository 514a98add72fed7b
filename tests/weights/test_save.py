"""What is written is whole, deterministic, loaded by transformers, and read back to the same bits."""

import json
import pathlib
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

from llmi_jax.core.errors import ConfigError, StorageError
from llmi_jax.models import lora
from llmi_jax.weights.load import load_pretrained
from llmi_jax.weights.save import cut, save_pretrained

TINY = pathlib.Path(__file__).resolve().parents[2] / 'llmi_jax' / 'assets' / 'tiny'


def _bytes(folder):
  return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize('kind', ['tiny_hf', 'moe_hf', 'sparse_hf', 'seeing_hf'])
@pytest.mark.parametrize('shard_bytes', [5e9, 20_000])
def test_the_round_trip_is_exact_and_transformers_computes_the_same(kind, shard_bytes, tmp_path, request):
  import torch
  import transformers

  folder, original = request.getfixturevalue(kind)
  model, config = load_pretrained(folder)
  out = tmp_path / 'out'
  save_pretrained(model, config, out, folder, shard_bytes=shard_bytes)
  again, same = load_pretrained(out)
  assert same == config and (out / 'model.safetensors.index.json').exists() == (shard_bytes < 1e9)
  for a, b in zip(jax.tree.leaves(model), jax.tree.leaves(again)):
    np.testing.assert_array_equal(a, b)
  cls = getattr(transformers, config.architecture)
  theirs, report = cls.from_pretrained(out, dtype=torch.float32, output_loading_info=True)
  assert not any(report.values()), report
  ids = torch.arange(2, 20)[None]
  with torch.no_grad():
    torch.testing.assert_close(theirs(ids).logits, original(ids).logits, atol=1e-6, rtol=0)


def test_files_are_of_the_size_asked_and_equal_each_time(moe_hf, tmp_path):
  model, config = load_pretrained(moe_hf[0])
  for name in ('one', 'two'):
    save_pretrained(model, config, tmp_path / name, moe_hf[0], shard_bytes=30_000)
  assert _bytes(tmp_path / 'one') == _bytes(tmp_path / 'two')
  index = json.loads((tmp_path / 'one' / 'model.safetensors.index.json').read_text())
  held, total = {}, 0
  for path in (tmp_path / 'one').glob('*.safetensors'):
    with safe_open(path, 'numpy') as file:
      held |= dict.fromkeys(file.keys(), path.name)
      assert file.metadata() == {'format': 'pt'}
    size = sum(value.nbytes for value in load_file(path).values())
    assert size <= 30_000
    total += size
  assert (held, total) == (index['weight_map'], index['metadata']['total_size'])


def test_bfloat16_rounds_as_torch_does(tiny_hf, tmp_path):
  import torch
  from transformers import AutoModelForCausalLM

  model, config = load_pretrained(tiny_hf[0])
  save_pretrained(model, config, tmp_path / 'out', tiny_hf[0], dtype=jnp.bfloat16)
  theirs = AutoModelForCausalLM.from_pretrained(tmp_path / 'out', dtype='auto').state_dict()
  for name, value in tiny_hf[1].state_dict().items():
    assert theirs[name].dtype == torch.bfloat16
    torch.testing.assert_close(theirs[name], value.to(torch.bfloat16), atol=0, rtol=0)
  # What has been rounded once stays as it is.
  model, _ = load_pretrained(tmp_path / 'out', dtype=jnp.bfloat16)
  save_pretrained(model, config, tmp_path / 'again', tmp_path / 'out', dtype=jnp.bfloat16)
  assert _bytes(tmp_path / 'again') == _bytes(tmp_path / 'out')


def test_a_sharded_model_is_written_as_one(sharded, moe_hf, tmp_path):
  model, config = load_pretrained(moe_hf[0])
  save_pretrained(model, config, tmp_path / 'one')
  save_pretrained(sharded[0], config, tmp_path / 'many')
  assert _bytes(tmp_path / 'one') == _bytes(tmp_path / 'many')


def test_companions_and_the_config_fields_of_the_source_are_kept(tmp_path):
  from transformers import AutoTokenizer

  source = shutil.copytree(TINY, tmp_path / 'source')
  fields = json.loads((source / 'config.json').read_text())
  fields |= {'torch_dtype': 'float16', 'own_field': {'a': 1}, 'rope_theta': 1e6}
  (source / 'config.json').write_text(json.dumps(fields))
  (source / 'preprocessor_config.json').write_text('{"patch_size": 14}')
  (source / 'optimizer.pt').write_bytes(b'no part of the model')
  model, config = load_pretrained(source)
  save_pretrained(model, config, tmp_path / 'out', source, dtype='bfloat16', extra={'extra': 2})
  written = json.loads((tmp_path / 'out' / 'config.json').read_text())
  assert written['own_field'] == {'a': 1} and written['extra'] == 2 and written['dtype'] == 'bfloat16'
  assert 'torch_dtype' not in written and written['tokenizer_digest'] == fields['tokenizer_digest']
  ours = {path.name for path in (tmp_path / 'out').iterdir()}
  assert ours == {path.name for path in source.iterdir()} - {'optimizer.pt'}
  for name in ours - {'config.json', 'model.safetensors'}:
    assert (tmp_path / 'out' / name).read_bytes() == (source / name).read_bytes()
  text = 'Show a <imgen> tag.'
  assert AutoTokenizer.from_pretrained(tmp_path / 'out')(text) == AutoTokenizer.from_pretrained(source)(text)


def test_what_cannot_be_written_is_refused_and_leaves_nothing(tiny_hf, moe_hf, tmp_path, monkeypatch):
  model, config = load_pretrained(tiny_hf[0])
  with pytest.raises(ConfigError, match='cannot be written as float16; choose float32 or bfloat16'):
    save_pretrained(model, config, tmp_path / 'out', dtype=jnp.float16)
  with pytest.raises(ConfigError, match='another shape'):
    save_pretrained(model, config, tmp_path / 'out', moe_hf[0])
  adapted = lora.add(model, jax.random.key(0), 2, 4.0, ['attention.q'])
  with pytest.raises(ConfigError, match='has LoRA adapters; merge them'):
    save_pretrained(adapted, config, tmp_path / 'out')
  (tmp_path / 'used').mkdir()
  (tmp_path / 'used' / 'notes.txt').write_text('mine')
  with pytest.raises(ConfigError, match='exists and is not empty'):
    save_pretrained(model, config, tmp_path / 'used')

  def full(*_):
    raise OSError(28, 'No space left on device')

  monkeypatch.setattr('os.fsync', full)
  with pytest.raises(StorageError, match='No space left'):
    save_pretrained(model, config, tmp_path / 'out')
  assert [path.name for path in tmp_path.iterdir()] == ['used']


def test_runs_of_tensors():
  sizes = {'a': 3, 'b': 3, 'c': 9, 'd': 1, 'e': 4}
  assert cut(sizes, 6) == [['a', 'b'], ['c'], ['d', 'e']]
  assert cut(sizes, 100) == [list(sizes)]
