"""What must not matter does not: cache, batch, padding, remat, unrolling, experts' form, mesh."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from llmi_jax.models import attention, decoder, moe, sharding
from llmi_jax.models import cache as caches
from llmi_jax.models.cache import Cache, Prefix, Suffix
from llmi_jax.models.config import DecoderConfig, Experts
from llmi_jax.models.decoder import Decoder
from llmi_jax.models.sharding import Layout, make_mesh
from llmi_jax.models.spans import spans

LENGTH = 10
TEXT = {'vocab': 64, 'width': 32, 'ff': 48, 'heads': 4, 'kv_heads': 2, 'head_dim': 8}
DENSE = DecoderConfig('Qwen3ForCausalLM', layers=3, window=4, windowed=(1,), **TEXT)
MIXED = DecoderConfig(
  'Qwen3MoeForCausalLM',
  layers=4,
  tied=False,
  qkv_bias=True,
  window=6,
  windowed=(1, 2),
  experts=Experts(8, 2, 24, True, (1, 3)),
  **TEXT,
)
BOTH = pytest.mark.parametrize('config', [DENSE, MIXED], ids=['dense', 'mixed'])


@pytest.fixture(scope='module', autouse=True)
def quick_to_compile():
  jax.config.update('jax_disable_most_optimizations', True)
  yield
  jax.config.update('jax_disable_most_optimizations', False)


def _model(config):
  model = jax.jit(lambda key: Decoder(config, key))(jax.random.key(1))
  return jax.tree.map(lambda leaf: leaf * 3.0 if leaf.ndim > 2 else leaf, model)


def _tokens(rows, config, seed=0):
  return np.random.default_rng(seed).integers(0, config.vocab, (rows, LENGTH)).astype(np.int32)


def _run(model, tokens, lengths, config, **options):
  positions = jnp.broadcast_to(jnp.arange(tokens.shape[1], dtype=jnp.int32), tokens.shape)
  return decoder.forward(model, tokens, positions, jnp.asarray(lengths, jnp.int32), config=config, **options)[
    0
  ]


@pytest.mark.parametrize(
  ('kinds', 'wanted'),
  [
    ('dddd', [('d', 4)]),
    ('dmmmmm', [('d', 1), ('m', 5)]),
    ('dmdmdm', [('dm', 3)]),
    ('ddmdm', [('d', 1), ('dm', 2)]),
    ('wwwfwwwf', [('wwwf', 2)]),
    ('wwwfwwwff', [('w', 3), ('f', 1), ('w', 3), ('f', 2)]),
    ('d', [('d', 1)]),
  ],
)
def test_spans_cover_layers_in_few_patterns(kinds, wanted):
  found = spans(kinds)
  assert [(''.join(s.pattern), s.repeats) for s in found] == wanted
  order = [
    (s.layer(r, p), s.pattern[p]) for s in found for r in range(s.repeats) for p in range(len(s.pattern))
  ]
  assert order == list(enumerate(kinds))


def test_layers_of_a_pattern_are_stacked():
  model = jax.eval_shape(lambda: Decoder(MIXED, jax.random.key(0)))
  assert model.spans[0][1].moe.gate.w.shape == (2, 8, 32, 24)


@BOTH
@pytest.mark.parametrize('form', ['view', 'stacked'])
def test_cached_equals_uncached(config, form):
  model = _model(config)
  tokens = _tokens(4, config)
  whole = _run(model, tokens, [LENGTH] * 4, config)
  params = decoder.decode_view(model) if form == 'view' else model
  # Two groups of two rows share prompts of 3 and 5 tokens; what follows is fed one by one.
  lengths, rows = np.array([3, 5], np.int32), 4
  tokens[1, :3], tokens[3, :5] = tokens[0, :3], tokens[2, :5]
  whole = _run(model, tokens, [LENGTH] * 4, config)
  positions = jnp.broadcast_to(jnp.arange(5, dtype=jnp.int32), (2, 5))
  _, kv, _ = decoder.forward(params, tokens[::2, :5], positions, jnp.asarray(lengths), config=config)

  def ring(one):
    empty = caches.empty(rows, one.v.shape[-3], 8, one.v.shape[-1], jnp.float32)
    return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (*one.v.shape[:-4], *leaf.shape)), empty)

  empty = jax.tree.map(ring, kv, is_leaf=lambda node: isinstance(node, caches.KV))
  suffix = Suffix(empty, jnp.zeros((), jnp.int32), jnp.zeros(rows, jnp.int32))
  starts = np.repeat(lengths, 2)

  @jax.jit
  def step(token, position, suffix):
    cache = Cache(Prefix(kv, jnp.asarray(lengths)), suffix)
    ones = jnp.ones(rows, jnp.int32)
    return decoder.forward(params, token, position, ones, cache, config=config)[:2]

  for t in range(LENGTH - 5):
    at = starts + t
    hidden, suffix = step(tokens[np.arange(rows), at][:, None], at[:, None], suffix)
    np.testing.assert_allclose(hidden[:, 0], whole[np.arange(rows), at], atol=3e-5)


@BOTH
def test_a_row_is_the_same_alone_in_a_batch_and_padded(config):
  model = _model(config)
  tokens = _tokens(3, config)
  lengths = [LENGTH, 4, 7]
  batch = _run(model, tokens, lengths, config)
  for row, length in enumerate(lengths):
    alone = _run(model, tokens[row : row + 1, :length], [length], config)
    np.testing.assert_allclose(batch[row, :length], alone[0], atol=2e-5)


FORMS = [{'remat': 'full'}, {'remat': 'dots'}, {'remat': 'attention', 'unroll': True}]


@pytest.mark.parametrize(
  ('config', 'forms'),
  [(DENSE, FORMS), pytest.param(MIXED, FORMS[2:], marks=pytest.mark.slow)],
  ids=['dense', 'mixed'],
)
def test_remat_and_unrolling_change_nothing(config, forms):
  model, tokens = _model(config), _tokens(2, config)

  def value(model, **options):
    return jnp.sum(_run(model, tokens, [LENGTH, 6], config, **options)[:, :6] ** 2)

  wanted = jax.jit(jax.grad(value))(model)
  for options in forms:
    found = jax.jit(lambda m, o=tuple(options.items()): jax.grad(value)(m, **dict(o)))(model)
    assert _distance(found, wanted) < 1e-5, options


@pytest.mark.parametrize(
  ('config', 'remat'),
  [(DENSE, 'full'), pytest.param(MIXED, 'none', marks=pytest.mark.slow)],
  ids=['dense', 'mixed'],
)
def test_attention_in_stretches_changes_nothing(config, remat, monkeypatch):
  model, tokens = _model(config), _tokens(2, config)
  lengths, positions = jnp.array([LENGTH, 6], jnp.int32), jnp.broadcast_to(jnp.arange(LENGTH), (2, LENGTH))

  def value(model):
    """Two prompts, and two rows behind each."""
    options = {'config': config, 'remat': remat}
    asked, kv, _ = decoder.forward(model, tokens, positions, lengths, **options)
    both = jnp.repeat(tokens, 2, 0)[:, ::-1]
    after = jnp.repeat(lengths, 2)[:, None] + jnp.repeat(positions, 2, 0)
    ends = jnp.array([LENGTH, 3, 6, 1], jnp.int32)
    answered = decoder.forward(model, both, after, ends, Cache(Prefix(kv, lengths)), **options)[0]
    live = (jnp.arange(LENGTH)[None] < ends[:, None])[..., None]
    return jnp.sum(asked[:, :6] ** 2) + jnp.sum(jnp.where(live, answered, 0) ** 2)

  wanted, grads = jax.jit(jax.value_and_grad(value))(model)
  monkeypatch.setattr(decoder, 'stretch', lambda *_: 4)
  got, found = jax.jit(jax.value_and_grad(lambda model: value(model)))(model)
  np.testing.assert_allclose(got, wanted, rtol=1e-6)
  assert _distance(found, grads) < 1e-5


def test_a_stretch_holds_few_logits():
  assert [attention.stretch(8, 32, keys) for keys in (24_576, 32_768, 368)] == [32, 32, 2048]
  assert attention.stretch(256, 32, 32_768) == 8 and attention.stretch(1, 1, 1, most=100) == 64


def test_experts_multiplied_in_either_form_agree():
  model, tokens = _model(MIXED), _tokens(2, MIXED)

  def value(model, kind):
    return jnp.sum(_run(model, tokens, [LENGTH, 6], MIXED, experts=kind)[:, :6] ** 2)

  blocks, ragged = (jax.jit(jax.grad(lambda m, k=k: value(m, k)))(model) for k in ('blocks', 'ragged'))
  assert _distance(blocks, ragged) < 1e-5


@pytest.mark.parametrize(
  'sizes', [None, pytest.param({'fsdp': 2, 'tensor': 2, 'expert': 2}, marks=pytest.mark.slow)]
)
def test_experts_that_serve_by_stretches_agree(sizes, monkeypatch):
  layout = None if sizes is None else Layout(make_mesh(sizes, jax.devices()), sharding.SEQUENCE)
  model, tokens = _model(MIXED), _tokens(8, MIXED)
  lengths = [LENGTH, 6, 7, 8, 9, 10, 6, 6]

  def value(model, layout):
    return jnp.sum(_run(model, tokens, lengths, MIXED, layout=layout, remat='full')[:, :6] ** 2)

  wanted, grads = jax.jit(jax.value_and_grad(lambda m: value(m, None)))(model)
  monkeypatch.setattr(moe, 'STRETCH', 3 * LENGTH - 1)
  placed = model if layout is None else jax.device_put(model, sharding.shardings(model, layout, MIXED))
  got, found = jax.jit(jax.value_and_grad(lambda m: value(m, layout)))(placed)
  np.testing.assert_allclose(got, wanted, rtol=1e-5)
  assert _distance(jax.device_get(found), grads) < 1e-5


MESHES = [
  ({'fsdp': 2, 'tensor': 2, 'expert': 2}, sharding.TRAIN),
  ({'fsdp': 2, 'tensor': 2, 'expert': 2}, sharding.SEQUENCE),
  ({'replica': 2, 'fsdp': 4}, sharding.TRAIN),
  ({'expert': 4, 'tensor': 2}, sharding.TRAIN),
]
CASES = [
  pytest.param(config, *mesh, id=f'{name}{i}', marks=() if i == 0 else pytest.mark.slow)
  for name, config in (('dense', DENSE), ('mixed', MIXED))
  for i, mesh in enumerate(MESHES)
]


@pytest.mark.parametrize(('config', 'sizes', 'rules'), CASES)
def test_eight_devices_equal_one(config, sizes, rules):
  layout = Layout(make_mesh(sizes, jax.devices()), rules)
  model, tokens = _model(config), _tokens(8, config)
  lengths = [LENGTH, 6, 7, 8, 9, 10, 6, 6]

  def value(model, layout):
    return jnp.sum(_run(model, tokens, lengths, config, layout=layout)[:, :6] ** 2)

  wanted, grads = jax.jit(jax.value_and_grad(lambda m: value(m, None)))(model)
  placed = jax.device_put(model, sharding.shardings(model, layout, config))
  got, found = jax.jit(jax.value_and_grad(lambda m: value(m, layout)))(placed)
  np.testing.assert_allclose(got, wanted, rtol=1e-5)
  assert _distance(jax.device_get(found), grads) < 1e-5


def test_rules_that_cannot_work_are_named():
  model = jax.eval_shape(lambda: Decoder(MIXED, jax.random.key(0)))
  colliding = tuple((n, ('tensor',) if n == 'width' else axes) for n, axes in sharding.TRAIN)
  layout = Layout(make_mesh({'tensor': 2, 'fsdp': 4}, jax.devices()), colliding)
  with pytest.raises(sharding.ShardingError, match=r'embedding: its axes vocab and width both want .*tensor'):
    sharding.shardings(model, layout, MIXED)
  layout = Layout(make_mesh({'tensor': 8}, jax.devices()))
  with pytest.raises(
    sharding.ShardingError, match=r'attention\.k\.b: its axis kv_heads of 2 .* 8 .*tensor 8'
  ):
    sharding.shardings(model, layout, MIXED)
  with pytest.raises(sharding.ShardingError, match='has 4 places and there are 8 devices'):
    make_mesh({'fsdp': 4}, jax.devices())
  with pytest.raises(sharding.ShardingError, match="no mesh axis 'model'"):
    make_mesh({'model': 8}, jax.devices())
  with pytest.raises(sharding.ShardingError, match=r'attention\.gain'):
    sharding.logical_axes('spans.0.0.attention.gain', 2)


def _distance(tree, reference) -> float:
  """‖Δ‖ / ‖reference‖ over all leaves."""
  pairs = list(zip(jax.tree.leaves(tree), jax.tree.leaves(reference)))
  difference = sum(float(jnp.sum((a - b) ** 2)) for a, b in pairs)
  return (difference / sum(float(jnp.sum(b**2)) for _, b in pairs)) ** 0.5
