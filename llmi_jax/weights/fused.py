"""Adapters of fused experts, as PEFT has them for transformers 5, taken apart into those of each projection.

There the experts of a layer are two parameters, `gate_up_proj` and `down_proj`, each with one adapter: A is
[E·rank, inputs], B is [outputs, rank·E]. Gate and up share A. Where B is block-diagonal (a pair of adapters
that PEFT has fused), each gets its own half back; otherwise both get all of A, and compute the same.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from llmi_jax.core.errors import WeightsError
from llmi_jax.models.config import Experts
from llmi_jax.weights.format import Stored

# In the order in which PEFT nests them: the adapter of the first is inside that of the second.
PARAMETERS = ('gate_up_proj', 'down_proj')


class Pair(NamedTuple):
  """An adapter on the host.

  Attributes:
    a: [inputs, rank].
    b: [rank, outputs].
    scale: factor of their product.
  """

  a: np.ndarray
  b: np.ndarray
  scale: float


def parameter(name: str, fields: Mapping[str, Any], stored: Stored) -> str:
  """The parameter that an adapter of a layer's experts is of, such as `model.layers.3.mlp.experts.down_proj`.

  Args:
    name: the adapter's, without `lora_A.weight`.
    fields: of the adapter's config.
    stored: one of its tensors, for the message.

  Raises:
    WeightsError: the config does not say.
  """
  targets = fields.get('target_parameters') or ()
  given = [one for one in PARAMETERS if any(target.split('.')[-1] == one for target in targets)]
  inside = name.endswith('.base_layer')
  if len(given) <= inside:
    raise WeightsError(f'{stored.path} holds {stored.name}, which its target_parameters do not name.')
  return f'{name.removesuffix(".base_layer")}.{given[0] if inside else given[-1]}'


def apart(adapters: Mapping[str, Pair], experts: Experts) -> dict[str, Pair]:
  """Name of a projection of an expert → its adapter.

  Args:
    adapters: by parameter, A and B as in the file.
    experts: numbers of the model.

  Raises:
    WeightsError: shapes do not fit the number of experts.
  """
  opened = {name: _open(name, pair, experts) for name, pair in adapters.items()}
  both = [pair.b for name, pair in opened.items() if name.endswith('gate_up_proj')]
  separate = all(_separate(b, experts.ff) for b in both)
  made: dict[str, Pair] = {}
  for name, (a, b, scale) in opened.items():
    layer, _, which = name.rpartition('.')
    half = b.shape[1] // 2
    gate, up = (slice(half), slice(half, None)) if separate else (slice(None), slice(None))
    for expert in range(experts.count):
      front = f'{layer}.{expert}'
      if which == 'down_proj':
        made[f'{front}.down_proj'] = Pair(a[expert], b[expert], scale)
      else:
        made[f'{front}.gate_proj'] = Pair(a[expert, :, gate], b[expert, gate, : experts.ff], scale)
        made[f'{front}.up_proj'] = Pair(a[expert, :, up], b[expert, up, experts.ff :], scale)
  return made


def _open(name: str, pair: Pair, experts: Experts) -> Pair:
  """A as [E, inputs, rank] and B as [E, rank, outputs]."""
  (rows, inputs), (outputs, columns) = pair.a.shape, pair.b.shape
  if rows % experts.count or rows != columns:
    raise WeightsError(
      f'The adapter of {name} has shapes {[rows, inputs]} and {[outputs, columns]}; '
      f'{experts.count} experts need as many equal parts of it.'
    )
  a = pair.a.reshape(experts.count, -1, inputs).transpose(0, 2, 1)
  return Pair(a, pair.b.reshape(outputs, -1, experts.count).transpose(2, 1, 0), pair.scale)


def _separate(b: np.ndarray, ff: int) -> bool:
  """Whether gate reads the first half of the rank and up the second: [E, rank, 2·F] is block-diagonal."""
  half, rest = divmod(b.shape[1], 2)
  return not rest and not b[:, half:, :ff].any() and not b[:, :half, ff:].any()
