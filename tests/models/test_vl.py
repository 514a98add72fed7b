"""A policy that sees equals the original: text alone, pictures first, in the middle and last, and mixed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from llmi_jax.models import decoder, mrope
from llmi_jax.models.decoder import Vision
from llmi_jax.models.names import places
from llmi_jax.models.sharding import leaf_name
from llmi_jax.models.vision_layout import arrange, bucket, token_rows
from llmi_jax.weights.load import load_pretrained
from tests.models import originals
from tests.models.originals import END, IMAGE, START

# A letter is a picture, a number so many words.
GRIDS = {'a': (1, 4, 4), 'b': (1, 2, 6), 'c': (1, 6, 10), 'd': (1, 8, 2)}
PROMPTS = {
  'text alone': [['9'], ['5']],
  'first': [['a', '6'], ['c', '3']],
  'middle': [['3', 'b', '4']],
  'last': [['7', 'd']],
  'one to four': [['2', 'a', '1', 'b', '2', 'c', 'd', '1'], ['4', 'c', 'a', '2', 'd']],
  'mixed with text': [['8'], ['1', 'b', '3', 'b'], ['c', '2'], ['4']],
}


@pytest.fixture(scope='module')
def policy(tmp_path_factory):
  folder = tmp_path_factory.mktemp('seeing')
  original = originals.seeing()
  original.save_pretrained(folder)
  return original, *load_pretrained(folder)


@pytest.fixture(scope='module', autouse=True)
def quick_to_compile():
  jax.config.update('jax_disable_most_optimizations', True)
  yield
  jax.config.update('jax_disable_most_optimizations', False)


def _prompt(pieces, rng):
  """Token ids and the letters of the pictures."""
  tokens, letters = [], []
  for piece in pieces:
    if piece.isdigit():
      tokens += list(rng.integers(2, 80, int(piece)))
    else:
      _, h, w = GRIDS[piece]
      tokens += [START, *[IMAGE] * (h * w // 4), END]
      letters.append(piece)
  return np.array(tokens, np.int32), letters


def _batch(prompts, config):
  """Right-padded tokens, positions, lengths, and pictures of a batch; patches as the original takes them."""
  rng = np.random.default_rng(0)
  made = [_prompt(pieces, rng) for pieces in prompts]
  letters = sorted({letter for _, row in made for letter in row})
  patches = {x: rng.normal(size=(GRIDS[x][1] * GRIDS[x][2], 24)).astype(np.float32) for x in letters}
  width = max(len(tokens) for tokens, _ in made)
  tokens = np.zeros((len(made), width), np.int32)
  positions = np.zeros((3, len(made), width), np.int32)
  rows = np.full((len(made), width), -1, np.int32)
  windows = config.vision.windows
  slots = max((bucket(GRIDS[x], windows, (16, 64, 128)) for x in letters), default=16)
  units = slots // 4
  for i, (ids, own) in enumerate(made):
    tokens[i, : len(ids)] = ids
    positions[:, i, : len(ids)], _ = mrope.positions(ids, [GRIDS[x] for x in own], image_pad=IMAGE, merge=2)
    seen = token_rows([(letters.index(x) * units, GRIDS[x]) for x in own], windows)
    rows[i, np.flatnonzero(tokens[i] == IMAGE)] = seen
  pictures = None
  if letters:
    pictures = arrange([(patches[x], GRIDS[x]) for x in letters], windows, slots=slots)
  lengths = np.array([len(ids) for ids, _ in made], np.int32)
  return tokens, positions, lengths, (pictures, rows), [(row, patches) for _, row in made]


def _original(original, tokens, lengths, seen):
  """Logits [B, T, V] of the original over right-padded rows."""
  import torch

  ids = torch.tensor(tokens).long()
  kinds = {'mm_token_type_ids': (ids == IMAGE).int()}
  mask = torch.tensor(np.arange(tokens.shape[1])[None] < lengths[:, None]).long()
  pictures = [(GRIDS[x], patches[x]) for row, patches in seen for x in row]
  if pictures:
    kinds['pixel_values'] = torch.tensor(np.concatenate([p for _, p in pictures]))
    kinds['image_grid_thw'] = torch.tensor([grid for grid, _ in pictures])
  return original(ids, attention_mask=mask, **kinds).logits


def _see(model, config, seen):
  pictures, rows = seen
  return Vision(decoder.see(model, pictures, config=config), jnp.asarray(rows)) if pictures else None


# The batches that hold all others' cases; each is compiled afresh, so the others wait for the slow run.
FIRST = ('one to four', 'mixed with text')


@pytest.mark.parametrize(
  'prompts',
  [pytest.param(p, id=name, marks=() if name in FIRST else pytest.mark.slow) for name, p in PROMPTS.items()],
)
def test_logits_and_gradients_equal_the_original(policy, prompts):
  import torch

  original, model, config = policy
  tokens, positions, lengths, pictures, seen = _batch(prompts, config)
  live = np.arange(tokens.shape[1])[None] < lengths[:, None]
  weight = np.random.default_rng(1).normal(size=(*tokens.shape, config.vocab)) * live[..., None]
  weight = weight.astype(np.float32)
  original.zero_grad()
  theirs = _original(original, tokens, lengths, seen)
  (theirs * torch.tensor(weight)).sum().backward()

  def loss(model):
    vision = _see(model, config, pictures)
    hidden, _, _ = decoder.forward(
      model, tokens, positions, jnp.asarray(lengths), vision=vision, config=config
    )
    logits = decoder.unembed(model, hidden)
    return jnp.sum(logits * weight), logits

  grads, ours = jax.jit(jax.grad(loss, has_aux=True))(model)
  np.testing.assert_allclose(np.asarray(ours)[live], theirs.detach().numpy()[live], atol=1e-4)
  wanted = originals.files(originals.gradients(original))
  leaves = {leaf_name(p): np.asarray(g) for p, g in jax.tree_util.tree_leaves_with_path(grads)}
  for tensor, place in places(config).items():
    grad = leaves[place.leaf][place.index]
    if tensor not in wanted:
      assert tensor.startswith('visual.') and pictures[0] is None and not grad.any(), tensor
      continue
    grad = (grad.T if place.transposed else grad).reshape(wanted[tensor].shape)
    assert np.linalg.norm(grad - wanted[tensor]) <= 1e-3 * np.linalg.norm(wanted[tensor]) + 1e-7, tensor


def test_a_view_prefills_and_decodes_as_the_whole(policy):
  _, model, config = policy
  from llmi_jax.models.cache import Cache, Prefix, empty_suffix

  tokens, positions, lengths, pictures, _ = _batch([['2', 'a', '4', 'b', '6']], config)
  vision = _see(model, config, pictures)
  whole, _, _ = decoder.forward(model, tokens, positions, jnp.asarray(lengths), vision=vision, config=config)
  view = decoder.decode_view(model)
  cut = int(lengths[0]) - 4
  first = vision._replace(rows=vision.rows[:, :cut])
  short = jnp.array([cut], jnp.int32)
  _, kv, _ = decoder.forward(view, tokens[:, :cut], positions[:, :, :cut], short, vision=first, config=config)
  suffix = empty_suffix(config.layers, 1, config.kv_heads, 8, config.head_dim, jnp.float32)
  _, delta = mrope.positions(tokens[0, :cut], [GRIDS['a'], GRIDS['b']], image_pad=IMAGE, merge=2)
  for t in range(cut, cut + 4):
    cache = Cache(Prefix(kv, short), suffix)
    place = jnp.array([[t + delta]], jnp.int32)
    hidden, suffix, _ = decoder.forward(
      view, tokens[:, t : t + 1], place, jnp.array([1]), cache, config=config
    )
    np.testing.assert_allclose(hidden[:, 0], whole[:, t], atol=2e-5)


def test_bf16_is_as_near_to_float32_as_the_original(policy):
  import copy

  import torch

  original, model, config = policy
  tokens, positions, lengths, pictures, seen = _batch(PROMPTS['one to four'], config)
  live = np.arange(tokens.shape[1])[None] < lengths[:, None]

  def logits(model):
    vision = _see(model, config, pictures)
    out = decoder.forward(model, tokens, positions, jnp.asarray(lengths), vision=vision, config=config)
    return np.asarray(decoder.unembed(model, out[0]))[live]

  exact, ours = logits(model), logits(jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), model))
  rough = copy.deepcopy(original).to(torch.bfloat16)
  with torch.no_grad():
    theirs = _original(rough, tokens, lengths, seen).float().numpy()[live]
  rounding = np.sqrt(np.mean((theirs - exact) ** 2))
  assert np.sqrt(np.mean((ours - exact) ** 2)) <= 1.5 * rounding
