"""Rectified flow (arXiv 2209.03003) from noise to pictures: the training loss, and painting in few steps."""

import jax
import jax.numpy as jnp
from jax import Array

from llmi_jax.painter import words
from llmi_jax.painter.network import Painter, Shape, predict

# Where the steps of painting begin; most happens early, where the layout is decided.
TIMES = (0.0, 0.2, 0.45, 0.75)
GUIDANCE = 2.0
_UNCONDITIONAL = 0.1  # share of training captions that are hidden, for guidance
_SHARES = (0.4, 0.25, 0.2, 0.15)  # of training at each of these times; no other is ever needed


def loss(params: Painter, shape: Shape, pictures: Array, captions: Array, key: Array) -> Array:
  """Mean squared error of the predicted pictures, at the times that painting uses.

  In a few steps, what counts is to see the whole picture in the noise: so the error is that of the picture,
  not that of the velocity, whose weight 1 / (1 − time)² would go to details.

  Args:
    params: the weights.
    shape: their sizes.
    pictures: [B, side, side, 3], −1 to 1.
    captions: [B, words.LENGTH] int32.
    key: decides noise, times and hidden captions.
  """
  batch = pictures.shape[0]
  for_noise, for_time, for_hiding = jax.random.split(key, 3)
  noise = jax.random.normal(for_noise, pictures.shape)
  time = jax.random.choice(for_time, jnp.array(TIMES), (batch,), p=jnp.array(_SHARES))
  hidden = jax.random.bernoulli(for_hiding, _UNCONDITIONAL, (batch, 1))
  captions = jnp.where(hidden, words.NOTHING, captions)
  t = time[:, None, None, None]
  guessed = predict(params, shape, t * pictures + (1 - t) * noise, time, captions)
  return jnp.mean(jnp.square(guessed - pictures))


def paint(
  params: Painter, shape: Shape, captions: Array, seeds: Array, *, guidance: float = GUIDANCE
) -> Array:
  """Paints one picture per caption; a picture depends on its caption and seed, not on its neighbours.

  Args:
    params: the weights.
    shape: their sizes.
    captions: [B, words.LENGTH] int32.
    seeds: [B] uint32.
    guidance: of the classifier-free kind; 1 is none.

  Returns:
    [B, side, side, 3] uint8.
  """

  def noise(seed: Array) -> Array:
    return jax.random.normal(jax.random.key(seed, impl='threefry2x32'), (shape.side, shape.side, 3))

  x = jax.vmap(noise)(seeds)
  both = jnp.concatenate([captions, jnp.full_like(captions, words.NOTHING)])

  def step(x: Array, times: Array) -> tuple[Array, None]:
    time, after = times
    same = jnp.broadcast_to(time, both.shape[:1])
    told, untold = jnp.split(predict(params, shape, jnp.concatenate([x, x]), same, both), 2)
    picture = jnp.clip(untold + guidance * (told - untold), -1, 1)
    # Euler: along the line through x and the picture, from `time` to `after`.
    return x + (picture - x) * ((after - time) / (1 - time)), None

  x, _ = jax.lax.scan(step, x, jnp.array([TIMES, (*TIMES[1:], 1.0)]).T)
  return jnp.round((x + 1) * 127.5).astype(jnp.uint8)
