"""The shape of a policy: static, hashable numbers, read from a Hugging Face `config.json`."""

import dataclasses
from typing import Literal

from llmi_jax.core.errors import ConfigError
from llmi_jax.models.vision_layout import Windows


@dataclasses.dataclass(frozen=True)
class Rope:
  """Rotary angles and how they are stretched beyond the length a model was trained for.

  Attributes:
    theta: base of the angles.
    kind: `default`; `linear` (positions divided by `factor`); `dynamic` (a larger base for rows longer than
      `original`: NTK-aware); `yarn` (Peng et al., arXiv 2309.00071).
    factor: of the stretching.
    original: positions before stretching; `dynamic` and `yarn` read it.
    attention_factor: scales cosine and sine.
    beta_fast: `yarn`: rotations above which a frequency is kept.
    beta_slow: `yarn`: rotations below which it is divided by `factor`.
    truncate: `yarn`: whether the borders between them are whole numbers.
    sections: M-RoPE: how many frequencies follow time, height and width; empty for plain positions.
  """

  theta: float = 1e6
  kind: Literal['default', 'linear', 'dynamic', 'yarn'] = 'default'
  factor: float = 1.0
  original: int = 0
  attention_factor: float = 1.0
  beta_fast: float = 32.0
  beta_slow: float = 1.0
  truncate: bool = True
  sections: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True)
class Experts:
  """A mixture's numbers.

  Attributes:
    count: E.
    active: experts per token.
    ff: feed-forward width of each.
    normalized: whether the chosen experts' probabilities are scaled to add up to 1.
    sparse: indices of the layers that have experts; the others are dense.
  """

  count: int
  active: int
  ff: int
  normalized: bool
  sparse: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class VisionConfig:
  """Static numbers of a tower; hashable.

  Attributes:
    layers: L.
    width: D.
    ff: F.
    heads: N.
    out: width of the features, the decoder's.
    patch: pixels along a patch.
    merge: patches along a unit.
    window: patches along a window.
    full: indices of the layers that attend to the whole picture, sorted.
    frames: how often a still picture's patch is repeated in time.
    channels: of a pixel.
    rope_theta: base of the rotary angles.
    norm_eps: of every RMS norm.
  """

  layers: int
  width: int
  ff: int
  heads: int
  out: int
  patch: int = 14
  merge: int = 2
  window: int = 8
  full: tuple[int, ...] = (7, 15, 23, 31)
  frames: int = 2
  channels: int = 3
  rope_theta: float = 10_000.0
  norm_eps: float = 1e-6

  def __post_init__(self):
    if self.width % (4 * self.heads):
      raise ConfigError(
        f'A vision tower of width {self.width} cannot have {self.heads} heads whose quarters turn by '
        'row and column; make hidden_size a multiple of 4·num_heads.'
      )
    if any(not 0 <= layer < self.layers for layer in self.full):
      raise ConfigError(
        f'fullatt_block_indexes are {list(self.full)} and the vision tower has {self.layers} layers; '
        'name existing layers only.'
      )
    _ = self.windows  # refuses windows that cannot be

  @property
  def head_dim(self) -> int:
    return self.width // self.heads

  @property
  def patch_width(self) -> int:
    """d, numbers per patch."""
    return self.channels * self.frames * self.patch * self.patch

  @property
  def windows(self) -> Windows:
    return Windows(self.window, self.merge)


@dataclasses.dataclass(frozen=True)
class DecoderConfig:
  """Static numbers of a policy; hashable.

  Attributes:
    architecture: the registry's name, such as `Qwen3ForCausalLM`.
    vocab: V, rows of the embedding.
    width: D.
    ff: F of dense layers.
    layers: L.
    heads: N query heads.
    kv_heads: K key/value heads.
    head_dim: H, independent of `width`.
    rope: rotary angles.
    norm_eps: of every RMS norm.
    tied: whether the unembedding is the embedding.
    qk_norm: whether queries and keys are normed per head.
    qkv_bias: whether query, key and value projections have a bias.
    o_bias: whether the output projection has one.
    max_length: positions the model was made for.
    window: tokens that a windowed layer sees, the present one included.
    windowed: indices of the windowed layers.
    experts: of a mixture; None for a dense model.
    vision: config of the vision tower; None for a text model.
    image_token: id that stands for one merged patch of a picture; -1 for a text model.
  """

  architecture: str
  vocab: int
  width: int
  ff: int
  layers: int
  heads: int
  kv_heads: int
  head_dim: int
  rope: Rope = Rope()
  norm_eps: float = 1e-6
  tied: bool = True
  qk_norm: bool = True
  qkv_bias: bool = False
  o_bias: bool = False
  max_length: int = 40_960
  window: int = 0
  windowed: tuple[int, ...] = ()
  experts: Experts | None = None
  vision: VisionConfig | None = None
  image_token: int = -1

  def __post_init__(self):
    if self.heads % self.kv_heads:
      raise ConfigError(
        f'{self.heads} query heads cannot share {self.kv_heads} key/value heads evenly; '
        'make num_attention_heads a multiple of num_key_value_heads.'
      )
    if self.head_dim % 2:
      raise ConfigError(f'head_dim is {self.head_dim}; rotary angles need an even number.')
    if self.rope.sections and 2 * sum(self.rope.sections) != self.head_dim:
      raise ConfigError(
        f'mrope_section {list(self.rope.sections)} adds up to {sum(self.rope.sections)}; '
        f'it must be half of head_dim {self.head_dim}.'
      )
    if self.experts and not 0 < self.experts.active <= self.experts.count:
      raise ConfigError(
        f'num_experts_per_tok is {self.experts.active} and there are {self.experts.count} experts; lower it.'
      )

  def sparse(self, layer: int) -> bool:
    """Whether a layer has experts."""
    return self.experts is not None and layer in self.experts.sparse
