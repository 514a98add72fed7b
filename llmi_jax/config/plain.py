"""Configs as plain values: dotted keys, YAML, differences."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import yaml
from ml_collections import ConfigDict


def flatten(config: Mapping[str, Any] | ConfigDict, prefix: str = '') -> Iterator[tuple[str, Any]]:
  """Dotted keys and values; an empty group has none."""
  for key, value in config.items():
    if isinstance(value, Mapping | ConfigDict):
      yield from flatten(value, f'{prefix}{key}.')
    else:
      yield f'{prefix}{key}', value


def to_yaml(config: ConfigDict) -> str:
  """Values that any safe YAML reader takes; tuples become lists."""
  return yaml.safe_dump(_nested(config), sort_keys=False, allow_unicode=True, width=110)


def changes(old: ConfigDict, new: ConfigDict) -> list[tuple[str, Any, Any]]:
  """(key, old value, new value) of what differs, in the new one's order; None stands for what is not there.

  Tuples and lists of equal items are equal: a stored config has lists.
  """
  before, after = (dict(flatten(ConfigDict(json.loads(one.to_json())))) for one in (old, new))
  keys = [*after, *(key for key in before if key not in after)]
  return [(key, before.get(key), after.get(key)) for key in keys if before.get(key) != after.get(key)]


def difference(config: ConfigDict, stored: str) -> list[str]:
  """Keys whose values differ from a stored JSON config's; a sentence's worth each."""
  found = changes(ConfigDict(json.loads(stored)), config)
  return sorted(f'{key} was {old!r} and is {new!r}' for key, old, new in found)


def _nested(value: Any) -> Any:
  if isinstance(value, Mapping | ConfigDict):
    return {key: _nested(item) for key, item in value.items()}
  return [_nested(item) for item in value] if isinstance(value, tuple | list) else value
