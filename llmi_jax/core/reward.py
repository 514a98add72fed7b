"""The numbers that enter a reward, before any weight or gate touches them."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Term:
  """One number on its way into a reward.

  Attributes:
    name: such as `rule`, `llm`, `mllm`, or a further term's.
    value: in [0, 1]; None where it is missing through the environment's fault.
    note: where it comes from, for people.
  """

  name: str
  value: float | None
  note: str = ''


@dataclasses.dataclass(frozen=True)
class RewardParts:
  """What `rl/gate` turns into one number.

  Attributes:
    rule: image-rule score r, [0, 1].
    llm: the text judge's L, [0, 1].
    mllm: the visual judge's M, [0, 1].
    extra: further terms, each with its own weight in the config.
    diagnostics: numbers that are logged and never rewarded.
  """

  rule: Term
  llm: Term
  mllm: Term
  extra: tuple[Term, ...] = ()
  diagnostics: tuple[Term, ...] = ()
