"""A decoder of the Qwen kinds, as immutable pytrees: `forward`, `unembed` and the view that generation uses.

Layers of like kind are stacked and run by `lax.scan`, span by span (see `spans`). `decode_view` unstacks them
for generation, where a scan would copy weights at every token; where a second copy of the weights does not
fit, the stacked form decodes too, its cache carried through the scan.
"""

from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array
from jax.ad_checkpoint import checkpoint_name

from llmi_jax.models import cache as caches
from llmi_jax.models import grouped, rope
from llmi_jax.models.attention import Part, attend, in_stretches, stretch
from llmi_jax.models.blocks import Block, feed_forward, output, qkv, rms_norm
from llmi_jax.models.cache import Cache, Prefix, Suffix
from llmi_jax.models.config import DecoderConfig
from llmi_jax.models.linear import normal, wide
from llmi_jax.models.sharding import Layout, constrain
from llmi_jax.models.spans import Span, spans
from llmi_jax.models.vision import VisionTower, features
from llmi_jax.models.vision_layout import Pictures

# none        keep every activation
# full        keep layer inputs only
# dots        keep results of matrix products
# attention   keep what attention returned
Remat = Literal['none', 'full', 'dots', 'attention']
UNBOUNDED = np.iinfo(np.int32).max


def layer_spans(config: DecoderConfig) -> tuple[Span, ...]:
  """The spans of a decoder's layers; a pattern's entries say whether a layer is sparse."""
  return spans([config.sparse(layer) for layer in range(config.layers)])


class Decoder(nnx.Module):
  """Parameters of a whole decoder.

  Attributes:
    embedding: [V, D].
    spans: a tuple over spans of tuples over their pattern of a `Block` stacked over the span's repeats.
    norm: [D].
    head: [D, V], absent where the embedding is tied.
    tower: of a model that sees.
  """

  def __init__(self, config: DecoderConfig, key: Array):
    first, second, third, fourth = jax.random.split(key, 4)
    self.embedding = normal(first, config.vocab, config.width)
    keys = jax.random.split(second, config.layers)
    self.spans: Any = nnx.data(tuple(_stacked(config, span, keys) for span in layer_spans(config)))
    self.norm = nnx.Param(jnp.ones(config.width))
    if not config.tied:
      self.head = normal(third, config.width, config.vocab)
    if config.vision is not None:
      self.tower = VisionTower(config.vision, fourth)


def _stacked(config: DecoderConfig, span: Span, keys: Array) -> tuple[Block, ...]:
  def place(i: int) -> Block:
    layers = np.array([span.layer(repeat, i) for repeat in range(span.repeats)])
    return jax.vmap(lambda key: Block(config, key, bool(span.pattern[i])))(keys[layers])

  return tuple(place(i) for i in range(len(span.pattern)))


class View(nnx.Module):
  """The same parameters for generation.

  Attributes:
    embedding: [V, D].
    layers: a tuple of L `Block`s.
    norm: [D].
    head: [D, V], absent where the embedding is tied.
    tower: of a model that sees.
  """

  def __init__(self, model: Decoder):
    self.embedding, self.norm = model.embedding, model.norm
    if hasattr(model, 'head'):
      self.head = model.head
    if hasattr(model, 'tower'):
      self.tower = model.tower
    layers = []
    for places in model.spans:
      for repeat in range(places[0].attention_norm.shape[0]):
        layers += [jax.tree.map(lambda leaf, r=repeat: leaf[r], stacked) for stacked in places]
    self.layers: Any = nnx.data(tuple(layers))


class Vision(NamedTuple):
  """What the tower made of pictures, and where it stands.

  Attributes:
    features: [M·U, D], see `see`; shared by all rows of a batch.
    rows: [B, T] int32: at an image token, its row of the features; -1 elsewhere.
  """

  features: Array
  rows: Array


def decode_view(model: Decoder, dtype: Any = None) -> View:
  """The parameters for generation: layers unstacked, everything cast to `dtype`."""
  return View(model if dtype is None else jax.tree.map(lambda leaf: leaf.astype(dtype), model))


def see(model: Decoder | View, pictures: Pictures, *, config: DecoderConfig, remat: Remat = 'none') -> Array:
  """Runs the vision tower over M distinct pictures: features [M·U, D], U of each picture together."""
  assert config.vision is not None
  found = features(model.tower, config.vision, pictures, remat=remat != 'none')
  return found.reshape(-1, found.shape[-1])


def forward(
  model: Decoder | View,
  tokens: Array,
  positions: Array,
  lengths: Array,
  cache: Cache | None = None,
  vision: Vision | None = None,
  *,
  config: DecoderConfig,
  unroll: int | bool = 1,
  remat: Remat = 'none',
  experts: grouped.Kind = 'blocks',
  layout: Layout | None = None,
  choices: Array | None = None,
) -> tuple[Array, Any, dict[str, Array]]:
  """Runs the decoder.

  Without a cache, every row attends causally to itself. With a prefix, rows also attend to all of their
  group's prefix. With a suffix as well (T = 1), the row's new token is stored and reads what is stored.

  Args:
    model: parameters, stacked or as a view.
    tokens: [B, T] int32, right-padded.
    positions: [B, T] int32, or [3, B, T] for M-RoPE.
    lengths: [B] int32, live tokens per row; a decoding row of length 0 is idle.
    cache: None, a prefix, or a prefix and a suffix; its form is the model's.
    vision: pictures in these tokens.
    config: static numbers.
    unroll: layers per scan iteration (True: all); more is faster to run and slower to compile.
    remat: what the backward pass keeps; see `Remat`.
    experts: how experts are multiplied; see `grouped`.
    layout: mesh and rules; None on one device.
    choices: [L', B, T, K] int32, experts that tokens go to in place of those that routers would choose;
      `router_choice` of an earlier pass; not when decoding.

  Returns:
    hidden [B, T, D] after the final norm; the new `Suffix` when decoding, else the `KV` of these tokens in
    the model's form (dropped by the compiler where unused); diagnostics: `router_logits` [L', B, T, E],
    `router_chosen` and `router_probability` [L', B, E] and `router_choice` [L', B, T, K] over the L' sparse
    layers, empty for dense models.
  """
  x = model.embedding[...][tokens]
  if vision is not None:
    seen = vision.features[jnp.maximum(vision.rows, 0)].astype(x.dtype)
    x = jnp.where(vision.rows[..., None] >= 0, seen, x)
  x = constrain(x, layout, 'batch', 'tokens', None)
  angles = rope.angles(positions, config.head_dim, config.rope, None if cache else lengths)
  live = jnp.arange(tokens.shape[1])[None] < lengths[:, None]
  finish = partial(feed_forward, live=live, config=config, experts=experts, layout=layout)
  project = partial(qkv, angles=angles, config=config, layout=layout)
  if cache is not None and cache.suffix is not None:
    x, kept = _decode(model, x, cache.prefix, cache.suffix, project, finish, config)
    routings = []
  else:
    prefix = cache.prefix if cache is not None else None
    size = _stretch(tokens, prefix, config, layout)
    layer = _layer(lengths, prefix, tokens.shape[1], project, finish, layout, size)
    x, kept, routings = _run(model, x, prefix, layer, config, unroll, remat, choices)
  return rms_norm(x, model.norm[...], config.norm_eps), kept, _diagnostics(routings)


def _stretch(tokens: Array, prefix: Prefix | None, config: DecoderConfig, layout: Layout | None) -> int:
  """Queries whose logits are held at once."""
  rows, keys = tokens.shape
  if prefix is not None:
    keys += caches.slots(prefix.kv)
  batch, heads = (layout.size('batch'), layout.size('heads')) if layout else (1, 1)
  return stretch(-(-rows // batch), config.heads // heads, keys)


def _layer(lengths: Array, prefix: Prefix | None, t: int, project, finish, layout, size: int):
  """One layer as a function of (x, block, the prefix's KV, window), with what attention may read."""
  index = jnp.arange(t)
  live = (index[None] < lengths[:, None])[:, None, None]

  def reachable(mask, distance, window):
    return mask if window is None else mask & (distance < window)

  def layer(x, block, shared, window, choice):
    q, k, v = project(block, x)

    def read(q, places, kept):
      """Queries at these places of their rows."""
      own, shared = kept
      distance = (places[:, None] - index[None])[None, None]
      parts = [Part(own.k, own.v, reachable((distance >= 0) & live, distance, window))]
      if prefix is not None:
        slots = shared.slots
        before = (
          prefix.length[:, None, None, None]
          + places[None, None, :, None]
          - jnp.arange(slots)[None, None, None]
        )
        parts.insert(0, Part(shared.k, shared.v, reachable(_stored(prefix, slots), before, window)))
      return attend(q, parts)

    attended = checkpoint_name(in_stretches(read, q, (caches.of(k, v), shared), size), 'attended')
    x = output(block, x, attended)
    x, routing = finish(block, x, choice=choice)
    return constrain(x, layout, 'batch', 'tokens', None), (caches.of(k, v), routing)

  return layer


def _stored(prefix: Prefix, slots: int) -> Array:
  """[P, 1, 1, S]."""
  return (jnp.arange(slots)[None] < prefix.length[:, None])[:, None, None]


def _run(model, x, prefix: Prefix | None, layer, config: DecoderConfig, unroll, remat: Remat, choices):
  """All layers; returns x, the keys and values in the model's form, and routings of sparse layers."""
  layer = _rematerialized(layer, remat)
  replay = _Replay(choices)
  if isinstance(model, View):
    kept, routings = [], []
    for i, block in enumerate(model.layers):
      shared = prefix.kv[i] if prefix is not None else None
      choice = replay.take(block, None)
      x, (kv, routing) = layer(x, block, shared, _window(config, i), choice)
      kept.append(kv)
      routings += [jax.tree.map(lambda leaf: leaf[None], routing)] if routing is not None else []
    return x, tuple(kept), routings
  kept, routings = [], []
  for number, (span, places) in enumerate(zip(layer_spans(config), model.spans)):

    def body(x, inputs):
      made = []
      for block, shared, window, choice in zip(*inputs):
        x, out = layer(x, block, shared, window, choice)
        made.append(out)
      return x, tuple(made)

    shared = prefix.kv[number] if prefix is not None else (None,) * len(places)
    own = tuple(replay.take(block, span.repeats) for block in places)
    x, made = jax.lax.scan(body, x, (places, shared, _windows(config, span), own), unroll=unroll)
    kept.append(tuple(kv for kv, _ in made))
    routings += [routing for _, routing in made if routing is not None]
  return x, tuple(kept), routings


class _Replay:
  """Hands out experts' choices in the order in which routings are gathered."""

  def __init__(self, choices: Array | None):
    self._choices, self._next = choices, 0

  def take(self, block: Block, repeats: int | None) -> Array | None:
    """Those of the next layer, or of so many stacked ones; None where it is dense or nothing is replayed."""
    if self._choices is None or not hasattr(block, 'moe'):
      return None
    start, self._next = self._next, self._next + (repeats or 1)
    return self._choices[start] if repeats is None else self._choices[start : self._next]


def _rematerialized(layer, remat: Remat):
  if remat == 'none':
    return layer
  policies = {
    'full': jax.checkpoint_policies.nothing_saveable,
    'dots': jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
    'attention': jax.checkpoint_policies.save_only_these_names('attended'),
  }
  return jax.checkpoint(layer, prevent_cse=False, policy=policies[remat])


def _window(config: DecoderConfig, layer: int) -> int | None:
  return config.window if layer in config.windowed else None


def _windows(config: DecoderConfig, span: Span) -> tuple[Array | None, ...]:
  """Per place of a span, the window of each repeat; None where no layer of the model has one."""
  if not config.windowed:
    return (None,) * len(span.pattern)
  table = np.full((len(span.pattern), span.repeats), UNBOUNDED, np.int32)
  for place in range(len(span.pattern)):
    for repeat in range(span.repeats):
      table[place, repeat] = _window(config, span.layer(repeat, place)) or UNBOUNDED
  return tuple(jnp.asarray(row) for row in table)


def _decode(model, x, prefix: Prefix, suffix: Suffix, project, finish, config: DecoderConfig):
  """One token per row, through the view's layers or, its cache carried, through the stacked ones."""
  slots = caches.slots(suffix.kv)
  behind = caches.behind(suffix.clock, slots)[None]  # [1, S]
  readable = (behind <= suffix.age[:, None])[:, None, None]
  ages = suffix.age if prefix.rows is None else prefix.rows.gather(suffix.age)
  index = (prefix.length[:, None] + ages.reshape(prefix.length.shape[0], -1))[..., None, None]

  def layer(x, block, shared, store, window):
    q, k, v = project(block, x)
    own, kept = store(caches.of(k, v))
    stored, mine = _stored(prefix, shared.slots), readable
    if window is not None:
      stored = stored & (index - jnp.arange(shared.slots)[None, None, None] < window)
      mine = mine & (behind < window)[:, None, None]
    attended = attend(q, [Part(shared.k, shared.v, stored, prefix.rows), Part(own.k, own.v, mine)])
    x, _ = finish(block, output(block, x, attended))
    return x, kept

  if isinstance(model, View):
    kept = []
    for i, (block, shared, own) in enumerate(zip(model.layers, prefix.kv, suffix.kv)):
      x, own = layer(x, block, shared, partial(caches.write, own, clock=suffix.clock), _window(config, i))
      kept.append(own)
    return x, Suffix(tuple(kept), suffix.clock + 1, suffix.age + 1)
  kept = []
  for span, places, shared, own in zip(layer_spans(config), model.spans, prefix.kv, suffix.kv):

    def body(carry, inputs):
      x, own, repeat = carry
      made = []
      for block, shared, window, stack in zip(*inputs, own):
        store = partial(caches.write, stack, clock=suffix.clock, layer=repeat)
        x, stack = layer(x, block, shared, store, window)
        made.append(stack)
      return (x, tuple(made), repeat + 1), None

    start = (x, own, jnp.zeros((), jnp.int32))
    (x, own, _), _ = jax.lax.scan(body, start, (places, shared, _windows(config, span)))
    kept.append(own)
  return x, Suffix(tuple(kept), suffix.clock + 1, suffix.age + 1)


def _diagnostics(routings: list) -> dict[str, Array]:
  if not routings:
    return {}
  names = ('router_logits', 'router_chosen', 'router_probability', 'router_choice')
  return {name: jnp.concatenate(arrays) for name, arrays in zip(names, zip(*routings))}


def unembedding(model: Decoder | View) -> Array:
  """[D, V], the transposed embedding where it is tied."""
  return model.head[...] if hasattr(model, 'head') else model.embedding[...].T


def unembed(model: Decoder | View, hidden: Array) -> Array:
  """[…, D] → [..., V] logits, float32 or wider."""
  weight = unembedding(model).astype(hidden.dtype)
  return jnp.matmul(hidden, weight, preferred_element_type=wide(hidden.dtype))
