"""Log-probabilities of given tokens from hidden states, without ever holding [tokens, V] at once."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array


def token_logprobs(
  hidden: Array,
  targets: Array,
  unembed: Callable[[Array], Array],
  *,
  temperature: float = 1.0,
  banned: Array | None = None,
  chunk: int = 4096,
) -> tuple[Array, Array]:
  """Log-probability and entropy at every token, in float32.

  Args:
    hidden: [B, T, D]; the state that predicts `targets`.
    targets: [B, T] int32.
    unembed: [C, D] → [C, V] float32 logits.
    temperature: divides logits, as in the sampler.
    banned: [V] bool, tokens that the sampler never draws.
    chunk: tokens whose logits are held at once; the backward pass recomputes them.

  Returns:
    logp [B, T] and entropy [B, T], in nats.
  """
  flat, wanted = hidden.reshape(-1, hidden.shape[-1]), targets.reshape(-1)

  def piece(states: Array, ids: Array) -> tuple[Array, Array]:
    logits = unembed(states) / temperature
    if banned is not None:
      logits = jnp.where(banned[None], -1e30, logits)
    norm = jax.nn.logsumexp(logits, -1)
    # A masked sum, not a gather: its gradient is a select instead of a scatter.
    picked = jnp.sum(jnp.where(ids[:, None] == jnp.arange(logits.shape[-1])[None], logits, 0.0), -1)
    expected = jnp.sum(jnp.exp(logits - norm[:, None]) * logits, -1)
    return picked - norm, jax.lax.stop_gradient(norm - expected)

  count = flat.shape[0]
  if count <= chunk:
    logp, entropy = piece(flat, wanted)
  else:
    pad = -count % chunk
    flat = jnp.pad(flat, ((0, pad), (0, 0))).reshape(-1, chunk, flat.shape[-1])
    wanted = jnp.pad(wanted, (0, pad)).reshape(-1, chunk)
    logp, entropy = jax.lax.map(lambda xs: jax.checkpoint(piece)(*xs), (flat, wanted))
    logp, entropy = logp.reshape(-1)[:count], entropy.reshape(-1)[:count]
  return logp.reshape(targets.shape), entropy.reshape(targets.shape)
