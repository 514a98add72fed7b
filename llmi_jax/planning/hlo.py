"""Compiled text → bytes to and from memory, and bytes between devices; loops count as often as they run.

Estimates: fusions are taken to read each operand once, and of stacked operands only the slice that they use.
A loop whose end is not a constant counts as one pass, so that a decoding program counts one step; of branches
all count.
"""

import dataclasses
import math
import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

_BITS = {
  'pred': 8,
  'bf16': 16,
  'f16': 16,
  'f32': 32,
  'f64': 64,
  'c64': 64,
  'c128': 128,
  'token': 0,
  'opaque': 0,
}
_ARRAY = re.compile(r'([a-z]+[0-9a-z]*)\[([0-9,]*)\](\{[^}]*\})?')
_LINE = re.compile(r'^\s*(ROOT )?%?([\w.\-]+) = (.*)$')
_HEAD = re.compile(r'^(ENTRY )?%?([\w.\-]+) \(.*\{\s*$')
_NAME = re.compile(r'%([\w.\-]+)')
_COLLECTIVES = ('all-gather', 'all-reduce', 'reduce-scatter', 'all-to-all', 'collective-permute')
# What moves nothing by itself.
_FREE = frozenset(
  (
    *('parameter', 'constant', 'tuple', 'get-tuple-element', 'bitcast', 'iota', 'domain', 'opt-barrier'),
    *('while', 'conditional', 'call', 'after-all', 'partition-id', 'replica-id'),
    *('async-start', 'async-update', 'async-done', 'copy-done'),
  )
)
# What the condition of a loop that counts to a constant is made of.
_COUNTING = frozenset(('parameter', 'get-tuple-element', 'constant', 'compare', 'bitcast', 'copy', 'fusion'))


@dataclasses.dataclass(frozen=True)
class Instruction:
  """One line.

  Attributes:
    name: of its result.
    opcode: such as `fusion`.
    shape: text of its result's type.
    operands: names.
    rest: text behind the operands; of a constant its value, of a parameter its number.
    root: whether it is its computation's result.
  """

  name: str
  opcode: str
  shape: str
  operands: tuple[str, ...]
  rest: str
  root: bool

  @property
  def size(self) -> float:
    """Bytes of the result that stand in main memory."""
    return bytes_of(self.shape)


Computation = Mapping[str, Instruction]


@dataclasses.dataclass(frozen=True)
class Module:
  """A compiled program.

  Attributes:
    computations: by name.
    entry: the name of the first.
  """

  computations: Mapping[str, Computation]
  entry: str


class Collective(NamedTuple):
  """Bytes that one device takes part in moving.

  Attributes:
    kind: such as `all-gather`.
    groups: device ids that exchange, one tuple per group.
    size: bytes of the larger of operand and result, times how often it runs.
  """

  kind: str
  groups: tuple[tuple[int, ...], ...]
  size: float


def bytes_of(shape: str) -> float:
  """Bytes of a type's arrays; those in on-chip memory (`S(1)`) count nothing."""
  total = 0.0
  for kind, dims, layout in _ARRAY.findall(shape):
    if 'S(1)' in layout:
      continue
    bits = _BITS.get(kind) if kind in _BITS else int(re.sub(r'\D', '', kind[1:3]) or 8)
    total += (bits or 0) / 8 * math.prod(int(d) for d in dims.split(',') if d)
  return total


def parse(text: str) -> Module:
  """A module from its text form."""
  computations: dict[str, dict[str, Instruction]] = {}
  entry, current = '', None
  for line in text.splitlines():
    if head := _HEAD.match(line):
      current = computations.setdefault(head[2], {})
      entry = head[2] if head[1] else entry
    elif line.startswith('}'):
      current = None
    elif current is not None and (found := _LINE.match(line)):
      instruction = _instruction(found[2], found[3], bool(found[1]))
      current[instruction.name] = instruction
  return Module(computations, entry)


def _instruction(name: str, text: str, root: bool) -> Instruction:
  shape, text = _split_shape(text)
  opcode, _, text = text.partition('(')
  depth, end = 1, 0
  while depth and end < len(text):
    depth += (text[end] == '(') - (text[end] == ')')
    end += 1
  inside, rest = text[: end - 1], text[end:]
  literal = opcode.strip() in ('constant', 'parameter')
  operands = () if literal else tuple(_NAME.findall(inside))
  rest = inside if literal else rest
  return Instruction(name, opcode.strip(), shape, operands, rest, root)


def _split_shape(text: str) -> tuple[str, str]:
  """The type in front, and what follows it."""
  if not text.startswith('('):
    shape, _, rest = text.partition(' ')
    return shape, rest
  depth = 0
  for end, letter in enumerate(text):
    depth += (letter == '(') - (letter == ')')
    if not depth:
      return text[: end + 1], text[end + 1 :].lstrip()
  return text, ''


def walk(module: Module) -> Iterator[tuple[Computation, Instruction, float]]:
  """Every instruction that runs by itself, with its computation and how often it runs."""
  yield from _walk(module, module.entry, 1.0)


def _walk(module: Module, name: str, times: float) -> Iterator[tuple[Computation, Instruction, float]]:
  computation = module.computations[name]
  for instruction in computation.values():
    yield computation, instruction, times
    if instruction.opcode == 'while':
      body, condition = _attribute(instruction, 'body'), _attribute(instruction, 'condition')
      yield from _walk(module, body, times * trips(module, instruction, condition))
    elif instruction.opcode in ('call', 'async-start'):
      called = _attribute(instruction, 'to_apply') or _attribute(instruction, 'calls')
      if called:
        yield from _walk(module, called, times)
    elif instruction.opcode == 'conditional':
      for called in _branches(instruction):
        yield from _walk(module, called, times)


def _attribute(instruction: Instruction, name: str) -> str:
  found = re.search(rf'\b{name}=%?([\w.\-]+)', instruction.rest)
  return found[1] if found else ''


def _branches(instruction: Instruction) -> list[str]:
  found = re.search(r'branch_computations=\{([^}]*)\}', instruction.rest)
  if found:
    return _NAME.findall(found[1])
  return [name for key in ('true_computation', 'false_computation') if (name := _attribute(instruction, key))]


def trips(module: Module, loop: Instruction, condition: str) -> float:
  """How often a loop runs, as its annotation or the constant in its condition says; else 1.

  A condition that looks at more than a counter, as that of decoding, tells nothing.
  """
  if known := re.search(r'known_trip_count\D*?(\d+)', loop.rest):
    return float(known[1])
  inside = module.computations.get(condition, {})
  fused = [i for i in inside.values() if i.opcode == 'fusion']
  parts = [*inside.values(), *(i for f in fused for i in called(module, f).values())]
  if any(i.opcode not in _COUNTING for i in parts) or sum(i.opcode == 'compare' for i in parts) != 1:
    return 1.0
  if not any(i.opcode == 'compare' and 'direction=LT' in i.rest for i in parts):
    return 1.0
  numbers = {int(i.rest) for i in parts if i.opcode == 'constant' and re.fullmatch(r'-?\d+', i.rest.strip())}
  return float(numbers.pop()) if len(numbers) == 1 else 1.0


def called(module: Module, instruction: Instruction) -> Computation:
  """What a fusion is made of."""
  return module.computations.get(_attribute(instruction, 'calls'), {})


def traffic(module: Module) -> float:
  """Bytes to and from one device's memory."""
  return sum(times * _moved(module, computation, i) for computation, i, times in walk(module))


def _moved(module: Module, computation: Computation, instruction: Instruction) -> float:
  if instruction.opcode in _FREE:
    return 0.0
  operands = [computation[name] for name in instruction.operands if name in computation]
  if instruction.opcode in ('dynamic-slice', 'gather', 'slice'):
    return 2 * instruction.size
  if instruction.opcode in ('dynamic-update-slice', 'scatter'):
    return 2 * operands[1].size if len(operands) > 1 else 0.0
  if instruction.opcode != 'fusion':
    return instruction.size + sum(operand.size for operand in operands)
  fused = called(module, instruction)
  read = sum(min(operand.size, _read(fused, at, operand.size)) for at, operand in enumerate(operands))
  return read + min(instruction.size, _written(fused, instruction.size))


def _read(fused: Computation, at: int, size: float) -> float:
  """Bytes that a fusion reads of its operand number `at`."""
  parameter = next((i.name for i in fused.values() if i.opcode == 'parameter' and _number(i) == at), None)
  users = [i for i in fused.values() if parameter in i.operands]
  if not users:
    return 0.0 if parameter is None else size
  total = 0.0
  for user in users:
    if user.opcode in ('dynamic-slice', 'gather', 'slice'):
      total += bytes_of(user.shape.replace('S(1)', ''))
    elif user.opcode == 'dynamic-update-slice' and user.operands[0] == parameter:
      total += 0.0  # in place
    else:
      return size
  return total


def _written(fused: Computation, size: float) -> float:
  """Bytes that a fusion writes: of a stack updated in place, the update alone."""
  root = next((i for i in fused.values() if i.root), None)
  while root is not None and root.opcode in ('bitcast', 'copy') and root.operands[0] in fused:
    root = fused[root.operands[0]]
  if root is not None and root.opcode == 'dynamic-update-slice' and root.operands[1] in fused:
    return bytes_of(fused[root.operands[1]].shape)
  return size


def _number(instruction: Instruction) -> int:
  """Of a parameter; its number stands where other operands do."""
  return int(instruction.rest) if instruction.rest.strip().isdigit() else -1


def collectives(module: Module) -> list[Collective]:
  """All of them, each with its bytes in all."""
  found = []
  for computation, instruction, times in walk(module):
    found += [
      Collective(c.kind, c.groups, times * c.size) for c in _exchanged(module, computation, instruction)
    ]
  return found


def _exchanged(module: Module, computation: Computation, instruction: Instruction) -> Iterator[Collective]:
  kind = instruction.opcode.removesuffix('-start')
  if kind in _COLLECTIVES:
    operands = sum(
      bytes_of(computation[o].shape.replace('S(1)', '')) for o in instruction.operands if o in computation
    )
    result = bytes_of(instruction.shape.replace('S(1)', ''))
    if instruction.opcode.endswith('-start'):
      result -= operands  # a start's type holds its operands as well
    yield Collective(kind, _groups(instruction), max(operands, result))
  elif instruction.opcode == 'fusion':
    fused = called(module, instruction)
    for inner in fused.values():
      yield from _exchanged(module, fused, inner)


def _groups(instruction: Instruction) -> tuple[tuple[int, ...], ...]:
  """Who exchanges with whom."""
  text = instruction.rest
  if listed := re.search(r'(?:replica_groups|source_target_pairs)=\{(\{[\d,{}]*\})\}', text):
    return tuple(tuple(map(int, one.split(','))) for one in re.findall(r'\{([\d,]+)\}', listed[1]))
  if iota := re.search(r'replica_groups=\[([\d,]+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?', text):
    shape, dims = (tuple(map(int, iota[n].split(','))) for n in (1, 2))
    ids = np.arange(math.prod(dims)).reshape(dims)
    ids = ids.transpose(tuple(map(int, iota[3].split(',')))) if iota[3] else ids
    return tuple(map(tuple, ids.reshape(shape).tolist()))
  if mesh := re.search(r'replica_groups=mesh\[([^\]]*)\] ?\{([^}]*)\}', text):
    sizes = [(name, int(size)) for name, size in re.findall(r"'([^']+)'=(\d+)", mesh[1])]
    chosen = re.findall(r"'([^']+)'", mesh[2])
    ids = np.arange(math.prod(size for _, size in sizes)).reshape([size for _, size in sizes])
    order = [i for i, (name, _) in enumerate(sizes) if name not in chosen]
    order += [i for i, (name, _) in enumerate(sizes) if name in chosen]
    width = math.prod(size for name, size in sizes if name in chosen)
    return tuple(map(tuple, ids.transpose(order).reshape(-1, width).tolist()))
  return ()
