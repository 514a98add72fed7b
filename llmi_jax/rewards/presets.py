"""Named rewards: the paper's, the released system's, and free ones.

    R = w_rule·r + w_llm·L + w_mllm·g·M + Σ w·extra

`paper`     what the paper says, and for what it leaves open our choice (see `Form`).
`released`  what the public code computes: an answer without a picture has full visual marks, one with more
than ten has none, a judge that gave no score gave the lowest, a call that the environment lost is a failed
one.
"""

import dataclasses
from collections.abc import Mapping
from typing import Literal

from llmi_jax.core.errors import ConfigError
from llmi_jax.rewards.facts import Measure

# Diagnostics that may be given a weight; see `rewards.facts`.
EXTRA = ('valid_tag_rate', 'tool_success', 'tool_accuracy', 'r_tool', 'hygiene')


@dataclasses.dataclass(frozen=True)
class Form:
  """How the parts are made of what was counted and judged.

  Attributes:
    no_image: M of an answer without a picture. `paper`: 1 where the rule is `none`, else 0 (our reading,
      the paper is silent). `released`: 1, and 0 for more than ten pictures.
    missing: a part whose judge or call was lost. `unscorable`: missing, so that the sample is left out.
      `lowest`: the lowest score.
    wordless: the text score of an answer without words. `judged`: what the judge says. `lowest`: 1.
    text: weight of the text score within L.
    tag: weight of the tag score within L.
  """

  no_image: Literal['paper', 'released'] = 'paper'
  missing: Literal['unscorable', 'lowest'] = 'unscorable'
  wordless: Literal['judged', 'lowest'] = 'judged'
  text: float = 1.4
  tag: float = 0.6


@dataclasses.dataclass(frozen=True)
class Preset:
  """A whole reward.

  Attributes:
    rule: weight of r.
    llm: weight of L.
    mllm: weight of M.
    gate: see `rl.gate`.
    form: of the parts.
    extra: weights of further terms, by name.
    own: what measures those of them that are the user's own.
  """

  rule: float = 0.2
  llm: float = 0.5
  mllm: float = 0.3
  gate: Literal['paper', 'all', 'none'] = 'paper'
  form: Form = Form()
  extra: Mapping[str, float] = dataclasses.field(default_factory=dict)
  own: Mapping[str, Measure] = dataclasses.field(default_factory=dict)

  def __post_init__(self):
    if self.gate not in ('paper', 'all', 'none'):
      raise ConfigError(f'The gate {self.gate!r} is unknown; known are paper, all and none.')
    for name in self.extra:
      if name not in (*EXTRA, *self.own):
        raise ConfigError(f'There is no term {name!r} to reward; known are {", ".join(EXTRA)}.')
    if taken := [name for name in self.own if name in ('rule', 'llm', 'mllm', *EXTRA)]:
      raise ConfigError(f'A term of your own is named {taken[0]!r}, as one of ours is; name it otherwise.')

  @property
  def weights(self) -> dict[str, float]:
    """Weight by part, further terms included."""
    return {'rule': self.rule, 'llm': self.llm, 'mllm': self.mllm, **self.extra}


PRESETS: Mapping[str, Preset] = {
  'paper': Preset(),
  'released': Preset(form=Form('released', 'lowest', 'lowest')),
}
