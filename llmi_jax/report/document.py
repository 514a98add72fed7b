"""One answer as a page or as Markdown with its pictures beside it."""

import os
import pathlib
import re

from markupsafe import Markup

from llmi_jax.core.answer import Answer
from llmi_jax.core.errors import ConfigError
from llmi_jax.core.task import Task
from llmi_jax.data.rollout import Piece, from_answer, pictures
from llmi_jax.report import shell, text
from llmi_jax.report.page import MOST_BYTES
from llmi_jax.report.pictures import Pictures, from_images
from llmi_jax.report.render import document, request_html
from llmi_jax.services.files import write_atomically

SIDE = 1024  # pixels of a picture's longer side on a page
LIMIT = 200_000  # characters of one text in Markdown


def write(path: str | os.PathLike, task: Task, answer: Answer) -> pathlib.Path:
  """Writes an answer in the form that the file's name asks for.

  `.html` is one self-contained page. `.md` comes with a folder `<name>_images` of PNG files.

  Raises:
    ConfigError: the name ends in neither.
    StorageError: the file cannot be written.
  """
  path = pathlib.Path(path)
  if path.suffix not in ('.html', '.md'):
    raise ConfigError(f'{path} ends in neither .html nor .md; documents are written as one of these.')
  if path.suffix == '.html':
    write_atomically(path, html(task, answer).encode())
  else:
    folder = f'{path.stem}_images'
    for picture in answer.pictures:
      write_atomically(path.parent / _file(folder, picture.image.sha256), picture.image.png)
    write_atomically(path, markdown(task, answer, folder).encode())
  return path


def html(task: Task, answer: Answer) -> str:
  """The request and the answer as one self-contained page."""
  rollout = from_answer(answer, task)
  known = {image.sha256: image for image in pictures(task, answer)}
  album = Pictures(from_images(known), MOST_BYTES - (4 << 20), SIDE, linked=False)
  template = shell.environment().get_template('document.html')
  body = template.render(
    request=request_html(rollout, album),
    document=document(rollout, album),
    origin=answer.origin,
    dropped=album.dropped,
  )
  return shell.page(task.question or task.id, Markup(body))


def markdown(task: Task, answer: Answer, folder: str) -> str:
  """The answer as Markdown.

  What a model wrote can be Markdown but neither HTML nor a picture from elsewhere: `<` and `![` are escaped.

  Args:
    task: what was asked.
    answer: what is shown.
    folder: where the pictures are, relative to the file.
  """
  rollout = from_answer(answer, task)
  parts = [_quoted(task.question)] if task.question else []
  parts += [_part(piece, folder) for piece in rollout.answer if piece.kind != 'thought']
  return '\n\n'.join(part for part in parts if part) + '\n'


def _part(piece: Piece, folder: str) -> str:
  if piece.kind == 'text':
    shown, note = text.cut(piece.text.strip(), LIMIT)
    return _inert(shown) + (f'\n\n*{note}*' if note else '')
  if piece.kind == 'gap' or piece.picture is None:
    return f'> *{_line(piece.text)}*'
  name = _line(piece.description or 'Picture')
  return f'![{name}]({_file(folder, piece.picture.sha256)})\n\n*{_credit(piece, name)}*'


def _credit(piece: Piece, name: str) -> str:
  """Tool, description and who is owed credit, on one line."""
  words = [f'{name} ({_line(piece.tool)})' if piece.tool else name]
  owed = piece.result.attribution if piece.result else None
  if owed:
    words.append(', '.join(_line(w) for w in (owed.title, owed.author, owed.licence, owed.page) if w))
  return '. '.join(words)


def _file(folder: str, sha256: str) -> str:
  return f'{folder}/{sha256[:16]}.png'


def _inert(markdown: str) -> str:
  """Markdown without HTML and pictures."""
  return text.reveal(markdown).replace('<', '&lt;').replace('![', '!\\[')


def _line(words: str) -> str:
  """One line of plain words within Markdown."""
  return re.sub(r'([\\`*_\[\]()!|])', r'\\\1', text.attribute(words)).replace('<', '&lt;')


def _quoted(words: str) -> str:
  return '\n'.join(f'> {line}' for line in _inert(words).splitlines())
