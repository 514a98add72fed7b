"""What the host holds while a folder is loaded, measured in a process of its own."""

import dataclasses
import json
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest

from llmi_jax.models.config import DecoderConfig
from llmi_jax.models.decoder import Decoder
from llmi_jax.weights.save import save_pretrained

ROOT = pathlib.Path(__file__).resolve().parents[2]
CONFIG = DecoderConfig(
  'Qwen3ForCausalLM', 16_000, width=768, ff=2560, layers=11, heads=12, kv_heads=4, head_dim=64
)
LARGEST = CONFIG.vocab * CONFIG.width
# Python's own allocations are the host's; those of XLA are the device's, which is the same memory on CPU.
MEASURE = """
import json, sys, tracemalloc
import jax
jax.config.update('jax_platforms', 'cpu')
jax.config.update('jax_num_cpu_devices', 8)
from llmi_jax.models.sharding import Layout, make_mesh
from llmi_jax.weights.load import load_pretrained

def status(key):
  with open('/proc/self/status') as file:
    return next(1024 * int(line.split()[1]) for line in file if line.startswith(key))

sizes = json.loads(sys.argv[1])
layout = Layout(make_mesh(sizes, jax.devices())) if sizes else None
warm = jax.block_until_ready(load_pretrained(sys.argv[2], layout)[0])
before = status('VmRSS')
with open('/proc/self/clear_refs', 'w') as file:
  file.write('5')
tracemalloc.start()
model = jax.block_until_ready(load_pretrained(sys.argv[3], layout)[0])
arrays = sum(leaf.nbytes for leaf in jax.tree.leaves(model))
print(json.dumps([tracemalloc.get_traced_memory()[1], status('VmHWM') - before - arrays, arrays]))
"""


@pytest.mark.slow
@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
def test_the_host_holds_one_tensor_at_a_time(dtype, tmp_path):
  for layers in (2, CONFIG.layers):
    config = dataclasses.replace(CONFIG, layers=layers)
    shapes = jax.eval_shape(lambda config=config: Decoder(config, jax.random.key(0)))
    model = jax.tree.map(lambda leaf: jnp.full(leaf.shape, 0.5, leaf.dtype), shapes)
    save_pretrained(model, config, tmp_path / str(layers), dtype=dtype, shard_bytes=4e7)
  largest = LARGEST * jnp.dtype(dtype).itemsize
  folders = [str(tmp_path / str(layers)) for layers in (2, CONFIG.layers)]
  for sizes in ({}, {'fsdp': 4, 'tensor': 2}):
    done = subprocess.run(
      [sys.executable, '-c', MEASURE, json.dumps(sizes), *folders],
      cwd=ROOT,
      capture_output=True,
      text=True,
      check=True,
      timeout=600,
    )
    host, resident, arrays = json.loads(done.stdout)
    assert arrays > 370e6
    assert host <= 1.2 * largest, (sizes, host / largest)
    if not sizes:
      # Beside the host's bytes, a device holds a tensor before and after its cast.
      assert resident <= 1.2 * largest + 2 * 4 * LARGEST, resident / 1e6
