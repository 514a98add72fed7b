"""Folders load whole or not at all, and what is saved loads in transformers."""

import json
import shutil

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from llmi_jax.core.errors import ConfigError, WeightsError
from llmi_jax.weights.load import load
from llmi_jax.weights.save import save


@pytest.fixture
def folder(tiny_hf, tmp_path):
  return shutil.copytree(tiny_hf[0], tmp_path / 'model')


def _rewrite(folder, change):
  tensors = load_file(folder / 'model.safetensors')
  change(tensors)
  save_file(tensors, folder / 'model.safetensors')


def test_round_trip_is_exact_and_transformers_reads_it(tiny_hf, tmp_path):
  import torch
  from transformers import AutoModelForCausalLM

  model, config = load(tiny_hf[0])
  save(model, config, tmp_path / 'out')
  again, _ = load(tmp_path / 'out')
  for a, b in zip(jax.tree.leaves(model), jax.tree.leaves(again)):
    np.testing.assert_array_equal(a, b)
  theirs = AutoModelForCausalLM.from_pretrained(tmp_path / 'out', dtype=torch.float32)
  ids = torch.arange(2, 20)[None]
  with torch.no_grad():
    torch.testing.assert_close(theirs(ids).logits, tiny_hf[1](ids).logits)


@pytest.mark.parametrize(
  ('change', 'words'),
  [
    (lambda t: t.pop('model.norm.weight'), 'lacks model.norm.weight'),
    (lambda t: t.update(extra=np.zeros(1, np.float32)), 'holds extra'),
    (lambda t: t.update({'model.norm.weight': np.zeros(3, np.float32)}), 'has shape'),
  ],
)
def test_wrong_tensors_are_named(folder, change, words):
  _rewrite(folder, change)
  with pytest.raises(WeightsError, match=words):
    load(folder)


def test_truncated_file_is_named(folder):
  path = folder / 'model.safetensors'
  path.write_bytes(path.read_bytes()[:-100])
  with pytest.raises(WeightsError, match='is broken'):
    load(folder)


def test_missing_folder_and_unsupported_config(folder):
  with pytest.raises(WeightsError, match='does not exist'):
    load(folder / 'nowhere')
  fields = json.loads((folder / 'config.json').read_text())
  fields['rope_parameters'] = {'rope_type': 'yarn', 'rope_theta': 1e6}
  (folder / 'config.json').write_text(json.dumps(fields))
  with pytest.raises(ConfigError, match='yarn'):
    load(folder)
