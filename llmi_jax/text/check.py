"""Whether what a tag says is a call of one of the tools."""

import dataclasses
from collections.abc import Mapping

from llmi_jax.core.toolspec import Parameter, ToolSpec
from llmi_jax.text.literal import Reading
from llmi_jax.text.reasons import Fault

KEYS = ('source', 'description', 'params')


@dataclasses.dataclass(frozen=True)
class Call:
  """A tag's content, found right.

  Attributes:
    tool: the name of its spec.
    description: may be empty.
    params: exactly the spec's parameters.
  """

  tool: str
  description: str
  params: dict[str, str | int]


def check(reading: Reading, specs: Mapping[str, ToolSpec], position: int) -> Call | Fault:
  """Holds a reading against the specs.

  Args:
    reading: the tag's dictionary.
    specs: tools by name.
    position: the image position that the tag takes; an `image` parameter names an earlier one.
  """
  if reading.duplicate is not None:
    return Fault.of('duplicate_key', name=reading.duplicate)
  value = reading.value
  fault = _check_keys(value, KEYS)
  if fault:
    return fault
  for name, kind, wanted in (
    ('source', str, 'text'),
    ('description', str, 'text'),
    ('params', dict, 'a dictionary'),
  ):
    if not isinstance(value[name], kind):
      return Fault.of('wrong_type', name=name, wanted=wanted)
  spec = specs.get(value['source'])
  if spec is None:
    return Fault.of('unknown_source', name=value['source'])
  params = value['params']
  fault = _check_keys(params, tuple(parameter.name for parameter in spec.parameters))
  for parameter in spec.parameters:
    fault = fault or _check_value(params[parameter.name], parameter, position)
  return fault or Call(spec.name, value['description'], params)


def _check_keys(value: dict, wanted: tuple[str, ...]) -> Fault | None:
  for name in wanted:
    if name not in value:
      return Fault.of('missing_key', name=name)
  for name in value:
    if name not in wanted:
      return Fault.of('extra_key', name=name)
  return None


def _check_value(value: object, parameter: Parameter, position: int) -> Fault | None:
  name = parameter.name
  if parameter.type == 'string':
    if not isinstance(value, str):
      return Fault.of('wrong_type', name=name, wanted='text')
    return None if value.strip() else Fault.of('empty_value', name=name)
  if not isinstance(value, int) or isinstance(value, bool):
    return Fault.of('wrong_type', name=name, wanted='a whole number')
  if value < 0:
    return Fault.of('index_range', name=name, value=value)
  if parameter.type == 'image' and value >= position:
    return Fault.of('index_order', name=name, value=value, position=position)
  return None
