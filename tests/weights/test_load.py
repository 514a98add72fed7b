"""Folders load whole or not at all; what is wrong is named; shards get their own bytes."""

import json
import shutil
import struct

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from llmi_jax.core.errors import ConfigError, ShardingError, WeightsError
from llmi_jax.models import sharding
from llmi_jax.models.names import places
from llmi_jax.models.sharding import Layout, leaf_name, make_mesh
from llmi_jax.weights import format as files
from llmi_jax.weights.format import Box
from llmi_jax.weights.load import load_pretrained
from tests.weights.conftest import count_reads, divide, rewrite

NORM, Q = 'model.norm.weight', 'model.layers.1.self_attn.q_proj.weight'


@pytest.fixture
def folder(tiny_hf, tmp_path):
  return shutil.copytree(tiny_hf[0], tmp_path / 'model')


def _leaves(model):
  return {leaf_name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(model)}


def _check_against_file(folder, model, config, dtype=np.float32):
  """Every leaf has the bits of its tensors, as the library reads them."""
  tensors, leaves = load_file(folder / 'model.safetensors'), _leaves(model)
  for name, place in places(config).items():
    wanted = tensors[name].reshape(len(tensors[name]), -1) if place.shape else tensors[name]
    wanted = wanted.T if place.transposed else wanted
    np.testing.assert_array_equal(np.asarray(leaves[place.leaf])[place.index], wanted.astype(dtype), name)


def test_every_tensor_is_where_it_belongs(tiny_hf, moe_hf, seeing_hf):
  for folder, _ in (tiny_hf, moe_hf, seeing_hf):
    model, config = load_pretrained(folder)
    _check_against_file(folder, model, config)


def test_shards_hold_what_one_device_would_and_each_byte_is_read_once(sharded, moe_hf):
  model, layout, shares = sharded
  wanted, config = load_pretrained(moe_hf[0])
  for (path, one), whole in zip(jax.tree_util.tree_leaves_with_path(model), jax.tree.leaves(wanted)):
    np.testing.assert_array_equal(one, whole, leaf_name(path))
  shardings = sharding.shardings(model, layout, config)
  assert all(one.sharding == own for one, own in zip(jax.tree.leaves(model), jax.tree.leaves(shardings)))
  assert shares and set(shares) == {1.0}


def test_replicas_are_read_once(moe_hf, monkeypatch):
  shares = count_reads(monkeypatch)
  model, _ = load_pretrained(moe_hf[0], Layout(make_mesh({'replica': 2}, jax.devices()[:2])))
  assert set(shares) == {1.0} and all(leaf.is_fully_replicated for leaf in jax.tree.leaves(model))


def test_parts_of_a_tensor_are_read_alone(tmp_path):
  value = np.arange(35, dtype=np.float32).reshape(7, 5).astype(ml_dtypes.bfloat16)
  save_file({'x': value}, tmp_path / 'x.safetensors')
  stored = files.read_header(tmp_path / 'x.safetensors')['x']
  rows, columns, corner = files.read(stored, [Box(2, 4, 0, 5), Box(0, 7, 1, 3), Box(5, 7, 4, 5)])
  np.testing.assert_array_equal(rows, value[2:4])
  np.testing.assert_array_equal(columns, value[:, 1:3])
  np.testing.assert_array_equal(corner, value[5:, 4:])


@pytest.mark.parametrize('stored', [ml_dtypes.bfloat16, np.float16, np.float32])
@pytest.mark.parametrize('wanted', [jnp.bfloat16, jnp.float32])
def test_dtypes_are_cast_as_asked(folder, stored, wanted):
  rewrite(folder, lambda t: t.update({name: value.astype(stored) for name, value in t.items()}))
  model, config = load_pretrained(folder, dtype=wanted)
  assert {leaf.dtype for leaf in jax.tree.leaves(model)} == {np.dtype(wanted)}
  _check_against_file(folder, model, config, np.dtype(wanted))


def test_several_files_with_an_index_and_newer_names_load_the_same(tiny_hf, folder):
  def rename(tensors):
    for name in list(tensors):
      tensors[name.replace('model.', 'model.language_model.', 1)] = tensors.pop(name)

  rewrite(folder, rename)
  divide(folder, 3)
  told = []
  model, config = load_pretrained(folder, progress=lambda done, total: told.append((done, total)))
  _check_against_file(tiny_hf[0], model, config)
  assert told[-1][0] == told[-1][1] == sum(leaf.nbytes for leaf in jax.tree.leaves(model))
  assert [done for done, _ in told] == sorted(done for done, _ in told)


def test_a_tied_head_may_be_stored_but_must_be_the_embedding(folder):
  embedding = load_file(folder / 'model.safetensors')['model.embed_tokens.weight']
  rewrite(folder, lambda t: t.update({'lm_head.weight': embedding}))
  load_pretrained(folder)
  other = embedding.copy()
  other[-1, -1] += 1
  rewrite(folder, lambda t: t.update({'lm_head.weight': other}))
  with pytest.raises(WeightsError, match=r'lm_head\.weight, which differs from model\.embed_tokens\.weight'):
    load_pretrained(folder)


@pytest.mark.parametrize(
  ('change', 'words'),
  [
    (lambda t: t.pop(NORM), 'lacks model.norm.weight; the copy is incomplete'),
    (lambda t: (t.pop(NORM), t.pop(Q)), f'lacks {NORM} and 1 more'),
    (
      lambda t: t.update(extra=np.zeros(1, np.float32)),
      'holds extra, which a Qwen3ForCausalLM does not have',
    ),
    (
      lambda t: t.update({NORM: np.zeros(3, np.float32)}),
      r'holds model.norm.weight with shape \[3\]; .* \[32\]',
    ),
    (
      lambda t: t.update({Q: t[Q].T.copy()}),
      r'q_proj.weight with shape \[32, 64\]; the config asks for \[64, 32\]',
    ),
    (
      lambda t: t.update({NORM: t[NORM].astype(np.int32)}),
      'holds model.norm.weight as I32; supported are F32',
    ),
    (lambda t: t.update({'model.language_model.norm.weight': t[NORM]}), 'norm.weight again'),
  ],
)
def test_wrong_tensors_are_named(folder, change, words):
  rewrite(folder, change)
  with pytest.raises(WeightsError, match=words):
    load_pretrained(folder)


def _header(data, change=lambda text: text):
  """The bytes of a file whose header's text is changed."""
  length = int.from_bytes(data[:8], 'little')
  text = change(data[8 : 8 + length].decode()).encode()
  return struct.pack('<Q', len(text)) + text + data[8 + length :]


def _twice(text):
  start = text.index(f'"{NORM}"')
  return text[:start] + text[start : text.index('}', start) + 1] + ',' + text[start:]


@pytest.mark.parametrize(
  ('change', 'words'),
  [
    (lambda data: data[:-100], r'is cut short by 100 bytes or more: it ends within model\.norm\.weight'),
    (lambda data: data[:50], 'is no safetensors file or ends within its header'),
    (lambda data: b'', 'is no safetensors file'),
    (lambda data: b'\x80\x02' + data, 'is no safetensors file'),
    (lambda data: b'version https://git-lfs.github.com/spec/v1\n', 'is a Git LFS pointer'),
    (lambda data: data + b'\0', 'has 1 bytes behind its last tensor'),
    (lambda data: _header(data, lambda text: text[:-9] + '}' * 9), 'has a header that cannot be read'),
    (lambda data: _header(data, _twice), f'it holds {NORM} twice'),
    (lambda data: _header(data, lambda text: '[]'), 'is no JSON object'),
    (lambda data: _header(data, lambda text: '[' * 100_000), 'has a header that cannot be read'),
    (
      lambda data: _header(data, lambda t: t.replace('"shape":[32]', '"shape":[33]')),
      'which is not what F32',
    ),
    (lambda data: _header(data, lambda t: t.replace('"shape":[32]', '"shape":[-32]')), 'does not describe'),
    (lambda data: _header(data, lambda t: t.replace('"dtype":"F32"', '"dtype":"F16"', 1)), 'is not what F16'),
  ],
)
def test_broken_files_are_named(folder, change, words):
  path = folder / 'model.safetensors'
  path.write_bytes(change(path.read_bytes()))
  with pytest.raises(WeightsError, match=words) as error:
    load_pretrained(folder)
  assert str(path) in str(error.value)


def test_overlapping_tensors_are_named(folder):
  path = folder / 'model.safetensors'
  found = files.read_header(path)

  def overlap(text):
    header = json.loads(text)
    _, second = sorted(found, key=lambda name: found[name].start)[:2]
    begin, end = header[second]['data_offsets']
    header[second]['data_offsets'] = [begin - 4, end - 4]
    return json.dumps(header)

  path.write_bytes(_header(path.read_bytes(), overlap))
  with pytest.raises(WeightsError, match='has a gap or an overlap before'):
    load_pretrained(folder)


@pytest.mark.parametrize(
  ('change', 'words'),
  [
    (
      lambda m: m.update({NORM: 'model-00009-of-00002.safetensors'}),
      'names model-00009.*does not exist; fetch',
    ),
    (lambda m: m.update({NORM: '../other.safetensors'}), 'is no file of that folder'),
    (lambda m: m.update({'extra': m[NORM]}), 'holds extra, and it does not'),
    (lambda m: m.update({NORM: m[Q]}), f'holds {NORM}, and it does not'),
    (lambda m: m.pop(NORM), f'holds {NORM}, which model.safetensors.index.json does not list'),
    (lambda m: m.update({NORM: 5}), 'is no index of tensors'),
  ],
)
def test_wrong_indices_are_named(folder, change, words):
  weight_map, index = divide(folder)
  assert weight_map[NORM] != weight_map[Q]
  change(weight_map)
  index.write_text(json.dumps({'weight_map': weight_map}))
  with pytest.raises(WeightsError, match=words):
    load_pretrained(folder)


def test_a_tensor_in_two_files_is_named(folder):
  weight_map, _ = divide(folder)
  value = load_file(folder / weight_map[NORM])[NORM]
  rewrite(folder, lambda t: t.update({NORM: value}), weight_map[Q])
  with pytest.raises(WeightsError, match=f'holds {NORM} again'):
    load_pretrained(folder)


def test_other_folders_are_told(folder):
  with pytest.raises(WeightsError, match='does not exist'):
    load_pretrained(folder / 'nowhere')
  shutil.copy(folder / 'model.safetensors', folder / 'other.safetensors')
  divide(folder)
  shutil.move(folder / 'other.safetensors', folder / 'model.safetensors')
  with pytest.raises(WeightsError, match='holds both'):
    load_pretrained(folder)
  (folder / 'model.safetensors.index.json').unlink()
  (folder / 'model.safetensors').unlink()
  with pytest.raises(WeightsError, match='holds neither'):
    load_pretrained(folder)


def test_unsupported_configs_and_meshes_are_told_before_tensors_are_read(folder, monkeypatch):
  monkeypatch.setattr('llmi_jax.weights.stream.read', lambda *_: pytest.fail('a tensor was read'))
  with pytest.raises(ShardingError, match='kv_heads'):
    load_pretrained(folder, Layout(make_mesh({'tensor': 8}, jax.devices())))
  rewrite(folder, lambda t: t.pop(NORM))
  with pytest.raises(WeightsError, match='lacks'):
    load_pretrained(folder)
  fields = json.loads((folder / 'config.json').read_text())
  fields['rope_parameters'] = {'rope_type': 'llama3', 'rope_theta': 1e6}
  (folder / 'config.json').write_text(json.dumps(fields))
  with pytest.raises(ConfigError, match='llama3'):
    load_pretrained(folder)
