"""Core records as JSON and back, for caches, journals and files. Pictures are written by hash only.

A record becomes an object with its class's name under `_`, so that unions and subclasses come back as they
were. Values of type `Any` must be JSON scalars, mappings or sequences; sequences come back as tuples.
"""

import dataclasses
import functools
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, TypeVar, Union

from llmi_jax.core.errors import DataError
from llmi_jax.core.image import Image

T = TypeVar('T')
Pictures = Callable[[str], bytes]
_SCALARS = (str, int, float, bool, type(None))


def encode(record: Any) -> Any:
  """JSON-able form of a record: frozen dataclasses, tuples, mappings and scalars.

  Raises:
    TypeError: a value is none of these.
  """
  if isinstance(record, Image):
    return {
      '_': 'Image',
      'sha256': record.sha256,
      'width': record.width,
      'height': record.height,
      'source': record.source,
    }
  if dataclasses.is_dataclass(record) and not isinstance(record, type):
    fields = {f.name: encode(getattr(record, f.name)) for f in dataclasses.fields(record)}
    return {'_': type(record).__name__} | fields
  if isinstance(record, Mapping):
    return {str(key): encode(value) for key, value in record.items()}
  if isinstance(record, tuple | list):
    return [encode(value) for value in record]
  if isinstance(record, _SCALARS):
    return record
  raise TypeError(f'{type(record).__name__} has no JSON form.')


def pictures(record: Any) -> Iterator[Image]:
  """Every picture inside a record, in order, repeated ones repeated."""
  if isinstance(record, Image):
    yield record
  elif dataclasses.is_dataclass(record):
    for field in dataclasses.fields(record):
      yield from pictures(getattr(record, field.name))
  elif isinstance(record, Mapping):
    for value in record.values():
      yield from pictures(value)
  elif isinstance(record, tuple | list):
    for value in record:
      yield from pictures(value)


def decode(cls: Any, data: Any, images: Pictures) -> Any:
  """The record that `encode` wrote.

  Args:
    cls: the record's class, or another type such as `ToolOutcome | Verdict`.
    data: what JSON gave.
    images: sha256 → PNG bytes.

  Raises:
    DataError: `data` is no such record.
  """
  try:
    return _decode(cls, data, images)
  except (KeyError, TypeError, ValueError) as error:
    raise DataError(f'The stored {_name(cls)} cannot be read ({error}); remove it.') from error


def _decode(cls: Any, data: Any, images: Pictures) -> Any:
  origin, arguments = typing.get_origin(cls), typing.get_args(cls)
  if cls is Any:
    return tuple(_decode(Any, v, images) for v in data) if isinstance(data, list) else data
  if origin is Literal:
    if data not in arguments:
      raise ValueError(f'{data!r} is none of {arguments}')
    return data
  if origin in (Union, types.UnionType):
    return _decode(_member(arguments, data), data, images)
  if origin is tuple:
    return _tuple(arguments, data, images)
  if isinstance(origin, type) and issubclass(origin, Mapping):
    return {arguments[0](key): _decode(arguments[1], value, images) for key, value in data.items()}
  if dataclasses.is_dataclass(cls):
    return _record(_subclass(cls, data['_']), data, images)
  if cls is float and isinstance(data, int):
    return float(data)
  if not isinstance(data, cls):
    raise TypeError(f'{data!r} is no {_name(cls)}')
  return data


def _record(cls: Any, data: dict[str, Any], images: Pictures) -> Any:
  if cls is Image:
    return Image(data['sha256'], images(data['sha256']), data['width'], data['height'], data['source'])
  hints = _hints(cls)
  return cls(**{name: _decode(hints[name], value, images) for name, value in data.items() if name != '_'})


def _tuple(arguments: tuple[Any, ...], data: Any, images: Pictures) -> tuple[Any, ...]:
  if len(arguments) == 2 and arguments[1] is Ellipsis:
    return tuple(_decode(arguments[0], value, images) for value in data)
  if len(arguments) != len(data):
    raise ValueError(f'{len(data)} values stand for {len(arguments)}')
  return tuple(_decode(argument, value, images) for argument, value in zip(arguments, data))


def _member(members: tuple[Any, ...], data: Any) -> Any:
  """The member of a union that `data` is."""
  name = data.get('_') if isinstance(data, dict) else None
  for member in members:
    if name in _family(member) if dataclasses.is_dataclass(member) else _fits(member, data):
      return member
  raise TypeError(f'{data!r:.80} is none of {[_name(m) for m in members]}')


def _fits(cls: Any, data: Any) -> bool:
  kind = typing.get_origin(cls) or cls
  stored = {tuple: list, float: float | int}.get(kind, kind)
  return cls is Any or isinstance(data, stored)


def _subclass(cls: Any, name: str) -> Any:
  """`cls` or the subclass of it that is called `name`."""
  if name not in _family(cls):
    raise TypeError(f'{name!r} is no {cls.__name__}')
  return _family(cls)[name]


@functools.cache
def _family(cls: Any) -> dict[str, Any]:
  family = {cls.__name__: cls}
  for child in cls.__subclasses__():
    family |= _family(child)
  return family


@functools.cache
def _hints(cls: Any) -> dict[str, Any]:
  return typing.get_type_hints(cls)


def _name(cls: Any) -> str:
  return getattr(cls, '__name__', str(cls))
