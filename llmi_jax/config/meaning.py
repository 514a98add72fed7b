"""What a config's keys mean: the comments beside them, in its file and in those that it imports.

    config.loss.clip_low = 0.2  # how far a ratio may fall below 1
    config.limit = {'seconds': 60.0}  # …

A comment belongs to the key that is set on its line, else to the keys that are set right below it. The
longest dotted name wins, and among equals the file that is read first: `config.tokens` in a neighbour that
makes one judge tells of `reward.remote.llm.tokens`, and not of `sampler.tokens`, which has its own line.
"""

import ast
import io
import pathlib
import tokenize
from collections.abc import Iterator, Sequence
from typing import NamedTuple


class Comments(NamedTuple):
  """A file's comments.

  Attributes:
    beside: line → the comment behind its code.
    alone: line → the comment that has it for itself.
  """

  beside: dict[int, str]
  alone: dict[int, str]


def meanings(path: pathlib.Path, keys: Sequence[str]) -> dict[str, str]:
  """Key → meaning; keys that nothing is said about are left out."""
  told = [dict(_told(file)) for file in _files(path)]
  found = {}
  for key in keys:
    names = key.split('.')
    suffixes = ['.'.join(names[start:]) for start in range(len(names))]
    said = next((one[suffix] for suffix in suffixes for one in told if suffix in one), None)
    if said:
      found[key] = said
  return found


def _files(path: pathlib.Path) -> list[pathlib.Path]:
  """The config's file and its neighbours that it imports, and theirs."""
  found, waiting = [], [path]
  while waiting:
    file = waiting.pop(0)
    if file in found or file.suffix != '.py' or not file.is_file():
      continue
    found.append(file)
    for node in ast.walk(ast.parse(file.read_text())):
      if isinstance(node, ast.ImportFrom) and node.module == file.resolve().parent.name:
        waiting += [file.parent / f'{alias.name}.py' for alias in node.names]
  return found


def _told(file: pathlib.Path) -> Iterator[tuple[str, str]]:
  """Dotted names, without what stands before their first dot, and meanings."""
  text = file.read_text()
  comments = _comments(text)
  for node in ast.walk(ast.parse(text)):
    if isinstance(node, ast.Assign):
      said = _said(comments, node.lineno, node.end_lineno or node.lineno)
      for target in node.targets:
        name = _name(target)
        if said and name:
          yield name, said
    if isinstance(node, ast.Dict):
      for key in node.keys:
        if isinstance(key, ast.Constant) and isinstance(key.value, str) and key.lineno in comments.beside:
          yield key.value, comments.beside[key.lineno]


def _said(comments: Comments, first: int, last: int) -> str:
  """Of a statement: what stands on its lines, else right above it."""
  inside = [comments.beside.get(n) or comments.alone.get(n) for n in range(first, last + 1)]
  above = []
  while (line := first - 1 - len(above)) in comments.alone:
    above.insert(0, comments.alone[line])
  return ' '.join(filter(None, inside)) or ' '.join(above)


def _comments(text: str) -> Comments:
  found = Comments({}, {})
  for token in tokenize.generate_tokens(io.StringIO(text).readline):
    if token.type == tokenize.COMMENT:
      alone = not token.line[: token.start[1]].strip()
      (found.alone if alone else found.beside)[token.start[0]] = token.string.lstrip('# ')
  return found


def _name(target: ast.expr) -> str:
  """`config.loss.clip_low` → `loss.clip_low`; empty for what is no attribute of a name."""
  names: list[str] = []
  while isinstance(target, ast.Attribute):
    names.insert(0, target.attr)
    target = target.value
  return '.'.join(names) if isinstance(target, ast.Name) else ''
