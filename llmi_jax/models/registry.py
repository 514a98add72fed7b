"""The architectures that can be loaded, trained and saved: a line each."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from llmi_jax.core.errors import ConfigError
from llmi_jax.models import qwen2_5_vl, qwen3, qwen3_moe
from llmi_jax.models.config import DecoderConfig


class Architecture(NamedTuple):
  """How a family's `config.json` is read and written.

  Attributes:
    read: fields → config.
    write: config → fields.
  """

  read: Callable[[Mapping[str, Any]], DecoderConfig]
  write: Callable[[DecoderConfig], dict[str, Any]]


ARCHITECTURES = {
  qwen3.ARCHITECTURE: Architecture(qwen3.read, qwen3.write),
  qwen3_moe.ARCHITECTURE: Architecture(qwen3_moe.read, qwen3_moe.write),
  qwen2_5_vl.ARCHITECTURE: Architecture(qwen2_5_vl.read, qwen2_5_vl.write),
}


def from_hf(fields: Mapping[str, Any]) -> DecoderConfig:
  """A config from the fields of a Hugging Face `config.json`.

  Raises:
    ConfigError: the architecture is unknown, a field is missing, or its value is not supported.
  """
  name = (fields.get('architectures') or [None])[0]
  if name not in ARCHITECTURES:
    raise ConfigError(
      f'The model config names the architecture {name!r}; known are {", ".join(sorted(ARCHITECTURES))}.'
    )
  return ARCHITECTURES[name].read(fields)


def to_hf(config: DecoderConfig) -> dict[str, Any]:
  """The fields of a `config.json` that transformers reads."""
  return ARCHITECTURES[config.architecture].write(config)
