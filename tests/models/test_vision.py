"""The vision tower equals transformers', however its pictures are padded, batched and recomputed."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from llmi_jax.core.errors import ConfigError
from llmi_jax.models import vision
from llmi_jax.models.vision_layout import arrange, layout, token_rows

torch = pytest.importorskip('torch')

# Windows of 4×4 patches, units of 2×2.
FIELDS = dict(
  depth=4,
  hidden_size=32,
  intermediate_size=48,
  num_heads=2,
  out_hidden_size=24,
  patch_size=4,
  window_size=16,
  fullatt_block_indexes=[1, 3],
)
CONFIG = vision.from_hf(FIELDS)
SLOTS = 128
GRIDS = {
  'one unit': (1, 2, 2),
  'one window': (1, 4, 4),
  'square': (1, 8, 8),
  'wide': (1, 2, 26),
  'tall': (1, 30, 4),
  'cut windows': (1, 6, 10),
}


def hf_tower(**fields):
  from transformers.models.qwen2_5_vl.configuration_qwen2_5_vl import Qwen2_5_VLVisionConfig
  from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VisionTransformerPretrainedModel

  return Qwen2_5_VisionTransformerPretrainedModel(Qwen2_5_VLVisionConfig(**fields))


@pytest.fixture(scope='module')
def theirs():
  torch.manual_seed(0)
  model = hf_tower(**FIELDS).eval()
  with torch.no_grad():
    for parameter in model.parameters():
      parameter.add_(torch.randn_like(parameter) * 0.1)
  return model


@pytest.fixture(scope='module')
def ours(theirs):
  return as_tower({name: value.detach().numpy() for name, value in theirs.named_parameters()})


def as_tower(tensors):
  """A tower filled by the tables of names; every tensor is used once and every leaf filled."""
  left = dict(tensors)

  def take(name, transposed):
    array = left.pop(name)
    array = array.reshape(len(array), -1) if array.ndim > 2 else array
    return array.T if transposed else array

  leaves = {leaf: take(*place) for leaf, place in vision.TOP.items()}
  for leaf, (name, transposed) in vision.LAYER.items():
    stacked = [take(f'blocks.{i}.{name}', transposed) for i in range(CONFIG.layers)]
    leaves[f'blocks.{leaf}'] = np.stack(stacked)
  assert not left
  shapes = jax.eval_shape(lambda: vision.VisionTower(CONFIG, jax.random.key(0)))

  def fill(path, abstract):
    array = leaves.pop(dotted(path))
    assert array.shape == abstract.shape
    return jnp.asarray(array)

  tower = jax.tree_util.tree_map_with_path(fill, shapes)
  assert not leaves
  return tower


def dotted(path):
  keys = [getattr(key, 'name', None) or getattr(key, 'key', None) for key in path]
  return '.'.join(str(key) for key in keys if key not in (None, 'value'))


def pictures(*grids, seed=0):
  rng = np.random.default_rng(seed)
  return [(rng.normal(size=(h * w, CONFIG.patch_width)).astype(np.float32), (1, h, w)) for _, h, w in grids]


def tokens(drawn, slots):
  """The rows of all pictures' image tokens, in the order of the pictures."""
  units = slots // CONFIG.merge**2
  return token_rows([(m * units, grid) for m, (_, grid) in enumerate(drawn)], CONFIG.windows)


@functools.partial(jax.jit, static_argnames='remat')
def run(tower, arranged, rows, remat=False):
  out = vision.features(tower, CONFIG, arranged, remat=remat)
  return out.reshape(-1, CONFIG.out)[rows]


def ours_on(tower, drawn, slots=SLOTS, count=None, **options):
  return run(tower, arrange(drawn, CONFIG.windows, slots=slots, count=count), tokens(drawn, slots), **options)


def theirs_on(model, drawn):
  patches = torch.tensor(np.concatenate([patches for patches, _ in drawn]))
  return model(patches, grid_thw=torch.tensor([grid for _, grid in drawn])).pooler_output


@pytest.mark.parametrize('grid', GRIDS.values(), ids=GRIDS.keys())
def test_features_of_a_picture_equal_transformers(ours, theirs, grid):
  drawn = pictures(grid)
  with torch.no_grad():
    wanted = theirs_on(theirs, drawn).numpy()
  np.testing.assert_allclose(ours_on(ours, drawn), wanted, atol=1e-4)


@pytest.mark.parametrize('count', [2, 3, 4])
def test_features_of_pictures_of_several_sizes_in_one_bucket_equal_transformers(ours, theirs, count):
  drawn = pictures(*list(GRIDS.values())[-count:], seed=count)
  with torch.no_grad():
    wanted = theirs_on(theirs, drawn).numpy()
  np.testing.assert_allclose(ours_on(ours, drawn, count=4), wanted, atol=1e-4)


def gradients(tower, drawn, slots=SLOTS, count=None, **options):
  arranged, rows = arrange(drawn, CONFIG.windows, slots=slots, count=count), tokens(drawn, slots)

  def loss(tower):
    return jnp.sum(run(tower, arranged, rows, **options) * weights(len(rows)))

  return named(jax.jit(jax.grad(loss))(tower))


def weights(rows):
  return np.random.default_rng(9).normal(size=(rows, CONFIG.out)).astype(np.float32)


def named(tree):
  return {dotted(path): np.asarray(leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def assert_close(found, wanted, relative):
  assert found.keys() == wanted.keys()
  for name, gradient in wanted.items():
    assert np.linalg.norm(gradient) > 0, name
    assert np.linalg.norm(found[name] - gradient) <= relative * np.linalg.norm(gradient), name


@pytest.fixture(scope='module')
def drawn():
  return pictures(GRIDS['cut windows'], GRIDS['square'], seed=5)


@pytest.fixture(scope='module')
def plain_gradients(ours, drawn):
  return gradients(ours, drawn)


def test_gradients_equal_transformers(theirs, drawn, plain_gradients):
  theirs.zero_grad()
  out = theirs_on(theirs, drawn)
  (out * torch.tensor(weights(len(out)))).sum().backward()
  wanted = named(as_tower({name: value.grad.numpy() for name, value in theirs.named_parameters()}))
  assert_close(plain_gradients, wanted, 1e-3)


def test_recomputed_layers_equal_kept_ones(ours, drawn, plain_gradients):
  np.testing.assert_allclose(ours_on(ours, drawn, remat=True), ours_on(ours, drawn), atol=1e-6)
  assert_close(gradients(ours, drawn, remat=True), plain_gradients, 1e-5)


def test_empty_slots_and_empty_pictures_change_nothing(ours, drawn, plain_gradients):
  tight = max(layout(grid, CONFIG.windows).slots for _, grid in drawn)
  np.testing.assert_allclose(ours_on(ours, drawn), ours_on(ours, drawn, slots=tight), atol=2e-6)
  assert_close(gradients(ours, drawn, slots=tight), plain_gradients, 1e-5)
  assert_close(gradients(ours, drawn, count=3), plain_gradients, 1e-5)


def test_what_lies_in_an_empty_slot_is_not_read(ours, drawn):
  arranged = arrange(drawn, CONFIG.windows, slots=SLOTS)
  noise = np.where(arranged.live[..., None], arranged.patches, np.float32(1e3))
  noisy = run(ours, arranged._replace(patches=noise), tokens(drawn, SLOTS))
  np.testing.assert_array_equal(noisy, ours_on(ours, drawn))
  out = vision.features(ours, CONFIG, arranged)
  np.testing.assert_array_equal(np.any(np.asarray(out), -1), arranged.live[:, ::4])


def test_queries_in_chunks_equal_all_at_once(ours, drawn, plain_gradients, monkeypatch):
  whole = ours_on(ours, drawn)
  monkeypatch.setattr(vision, 'LOGITS', 32 * SLOTS)
  jax.clear_caches()
  np.testing.assert_allclose(ours_on(ours, drawn), whole, atol=1e-6)
  assert_close(gradients(ours, drawn), plain_gradients, 1e-5)
  jax.clear_caches()


def test_sharded_over_pictures_and_parameters_equals_one_device(ours, drawn, plain_gradients):
  mesh = jax.make_mesh((2, 2, 2), ('data', 'fsdp', 'tensor'), axis_types=(AxisType.Auto,) * 3)

  def split(leaf):
    axes = ('fsdp', 'tensor') if leaf.shape[-1] % 2 == leaf.shape[-2] % 2 == 0 else (None, None)
    return jax.device_put(leaf, NamedSharding(mesh, P(*[None] * (leaf.ndim - 2), *axes)))

  whole = NamedSharding(mesh, P())
  tower = jax.tree.map(lambda leaf: split(leaf) if leaf.ndim > 1 else jax.device_put(leaf, whole), ours)
  arranged = arrange(drawn, CONFIG.windows, slots=SLOTS)
  arranged = jax.device_put(arranged, NamedSharding(mesh, P('data')))
  rows = tokens(drawn, SLOTS)
  np.testing.assert_allclose(run(tower, arranged, rows), ours_on(ours, drawn), atol=2e-6)
  loss = lambda tower: jnp.sum(run(tower, arranged, rows) * weights(len(rows)))
  assert_close(named(jax.jit(jax.grad(loss))(tower)), plain_gradients, 1e-5)


def test_no_logits_of_a_whole_large_picture_exist_at_once():
  config = vision.VisionConfig(layers=2, width=16, ff=8, heads=2, out=8, patch=2, full=(1,))
  tower = jax.eval_shape(lambda: vision.VisionTower(config, jax.random.key(0)))
  slots = 16_384
  shaped = jax.eval_shape(
    lambda: vision.Pictures(
      jnp.zeros((1, slots, config.patch_width)),
      jnp.zeros((1, slots), bool),
      jnp.zeros((1, slots, 2), jnp.int32),
    )
  )
  loss = lambda tower, pictures: vision.features(tower, config, pictures, remat=True).sum()
  program = jax.jit(jax.grad(loss)).lower(tower, shaped).compile()
  logits = 4 * config.heads * slots * slots
  assert program.memory_analysis().temp_size_in_bytes < logits / 8


def test_bfloat16_errs_no_more_than_torch_does(ours, theirs, drawn):
  import copy

  with torch.no_grad():
    exact = theirs_on(theirs, drawn).numpy()
    half = theirs_on(copy.deepcopy(theirs).to(torch.bfloat16), drawn).float().numpy()
  cast = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), ours)
  out = ours_on(cast, drawn)
  assert out.dtype == jnp.bfloat16
  error = np.linalg.norm(np.asarray(out, np.float32) - exact)
  assert error <= 1.25 * np.linalg.norm(half - exact)


@pytest.mark.parametrize(('ff', 'out'), [(3420, 3584), (3456, 5120)], ids=['7B', '32B'])
def test_full_size_towers_have_as_many_parameters_as_transformers(ff, out):
  fields = dict(
    depth=32, hidden_size=1280, intermediate_size=ff, num_heads=16, out_hidden_size=out, window_size=112
  )
  with torch.device('meta'):
    wanted = sum(p.numel() for p in hf_tower(**fields).parameters())
  shapes = jax.eval_shape(lambda: vision.VisionTower(vision.from_hf(fields), jax.random.key(0)))
  assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == wanted


def test_configs_are_read_and_written_as_transformers_does():
  from transformers.models.qwen2_5_vl.configuration_qwen2_5_vl import Qwen2_5_VLVisionConfig

  assert vision.from_hf(Qwen2_5_VLVisionConfig(**FIELDS).to_dict()) == CONFIG
  written = Qwen2_5_VLVisionConfig(**vision.to_hf(CONFIG))
  assert written.to_dict() == Qwen2_5_VLVisionConfig(**FIELDS).to_dict()
  released = dict(
    depth=32,
    hidden_act='silu',
    hidden_size=1280,
    intermediate_size=3420,
    num_heads=16,
    in_chans=3,
    out_hidden_size=3584,
    patch_size=14,
    spatial_merge_size=2,
    spatial_patch_size=14,
    window_size=112,
    fullatt_block_indexes=[7, 15, 23, 31],
    tokens_per_second=2,
    temporal_patch_size=2,
  )
  config = vision.from_hf(released)
  assert (config.windows.capacity, config.head_dim, config.patch_width) == (64, 80, 1176)


@pytest.mark.parametrize(
  ('change', 'culprit'),
  [
    ({'hidden_act': 'gelu'}, 'gelu'),
    ({'num_heads': 3}, '3 heads'),
    ({'fullatt_block_indexes': [4]}, r'\[4\].*4 layers'),
    ({'window_size': 4}, 'Windows of 0'),
    ({'rope_parameters': {'rope_type': 'yarn'}}, 'yarn'),
  ],
)
def test_a_config_that_cannot_work_is_named(change, culprit):
  with pytest.raises(ConfigError, match=culprit):
    vision.from_hf(FIELDS | change)


def test_a_missing_field_is_named():
  with pytest.raises(ConfigError, match='out_hidden_size'):
    vision.from_hf({name: value for name, value in FIELDS.items() if name != 'out_hidden_size'})
