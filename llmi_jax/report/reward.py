"""A reward taken apart: what each part adds, and whether the sum is the stored total."""

import dataclasses
from collections.abc import Sequence

from llmi_jax.data.rollout import RewardPart

_TOLERANCE = 1e-5  # rewards pass through float32


@dataclasses.dataclass(frozen=True)
class Share:
  """What one part adds.

  Attributes:
    part: the part as stored.
    gate: the value that multiplies it; 1 where nothing does, None where that part is missing.
    adds: weight × gate × value; 0 where weight or gate is 0, whatever the value; None where it is missing.
  """

  part: RewardPart
  gate: float | None
  adds: float | None


def shares(parts: Sequence[RewardPart]) -> tuple[Share, ...]:
  """Each part's share of the total."""
  values = {p.name: p.value for p in parts}
  made = []
  for part in parts:
    gate = values.get(part.gate) if part.gate else 1.0
    if part.weight == 0 or gate == 0:
      adds = 0.0
    else:
      adds = None if part.value is None or gate is None else part.weight * gate * part.value
    made.append(Share(part, gate, adds))
  return tuple(made)


def total(taken: Sequence[Share]) -> float | None:
  """Their sum; None where a share is missing."""
  adds = [share.adds for share in taken]
  return None if None in adds or not adds else sum(a for a in adds if a is not None)


def agrees(taken: Sequence[Share], stored: float | None) -> bool:
  """Whether the parts add up to the stored reward."""
  summed = total(taken)
  if summed is None or stored is None:
    return summed is stored
  return abs(summed - stored) <= _TOLERANCE


def formula(parts: Sequence[RewardPart]) -> str:
  """Such as `0.2 · rule + 0.5 · llm + 0.3 · rule · mllm`."""
  return ' + '.join(' · '.join(filter(None, (f'{p.weight:g}', p.gate, p.name))) for p in parts if p.weight)
