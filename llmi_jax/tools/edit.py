"""The built-in edit: instructions in plain words, carried out by a table of picture operations."""

import asyncio
import re

from PIL import Image as Pil

from llmi_jax.core.outcome import Candidate, ToolOutcome
from llmi_jax.core.toolspec import Parameter, ToolSpec
from llmi_jax.services import images
from llmi_jax.tools.operations import MAX_SIDE, OPERATIONS, Operation, Wish
from llmi_jax.tools.registry import Context, Params, Tool, ToolFailure, success

SPEC = ToolSpec(
  'edit',
  'Changes a picture that is already there: one of the request, or one made by an earlier tag of the same '
  'answer. Pictures are numbered from 0 in order of appearance, those of the request first, then one number '
  'per tag. Say plainly what is to change.',
  (
    Parameter('img_index', 'image', 'the number of the picture to change'),
    Parameter('prompt', 'string', 'the change, as an instruction'),
  ),
  (('img_index', 0), ('prompt', 'turn it into a black-and-white picture and add a white border')),
)

_WORDS = re.compile('|'.join(rf'(?P<{op.name}>\b(?:{op.words})(?!\w))' for op in OPERATIONS), re.IGNORECASE)
_BREAK = re.compile(r'[,;.]\s|\b(?:and|then|also|plus)\b|\n', re.IGNORECASE)
_QUOTED = re.compile(r'"([^"]*)"|“([^”]*)”|«([^»]*)»|(?<!\w)\'([^\']*)\'(?!\w)|‘([^’]*)’')
_BY_NAME = {op.name: op for op in OPERATIONS}
_MARK = '\x00'  # stands for a quoted text
_MOST_STEPS = 8


def edit_tool(spec: ToolSpec = SPEC) -> Tool:
  """The edit tool on the built-in operations."""

  async def call(params: Params, context: Context) -> ToolOutcome:
    steps = read(str(params['prompt']))
    if not steps:
      known = ', '.join(op.name for op in OPERATIONS)
      raise ToolFailure(f'The instruction names no known operation; known are {known}.', 'policy', 'invalid')
    if len(steps) > _MOST_STEPS:
      raise ToolFailure(
        f'The instruction has {len(steps)} steps; at most {_MOST_STEPS} are done.', 'policy', 'invalid'
      )
    picture = images.to_pil(context.images[int(params['img_index'])])
    edited = await asyncio.to_thread(_perform, picture, steps)
    done = tuple((op.name, wish.text) for op, wish in steps)
    return success(Candidate(images.from_pil(edited, source='edit')), executed=(*params.items(), *done))

  return Tool(spec, call, cached=False)


def read(instruction: str) -> list[tuple[Operation, Wish]]:
  """The operations that an instruction asks for, in its order, each with the words around it.

  Separators (commas, full stops, "and", "then") bound an operation's words unless they belong to its name, as
  in "black and white". Quoted text names no operation.
  """
  quotes = [next(g for g in match.groups() if g is not None) for match in _QUOTED.finditer(instruction)]
  text = _QUOTED.sub(f' {_MARK} ', instruction)
  named = list(_WORDS.finditer(text))
  breaks = [
    b.span() for b in _BREAK.finditer(text) if not any(n.start() <= b.start() < n.end() for n in named)
  ]
  steps: list[tuple[Operation, Wish]] = []
  for i, match in enumerate(named):
    op = _BY_NAME[str(match.lastgroup)]
    before = named[i - 1].end() if i else 0
    behind = named[i + 1].start() if i + 1 < len(named) else len(text)
    left = max((end for _, end in breaks if before <= end <= match.start()), default=before)
    right = min((start for start, _ in breaks if match.end() <= start <= behind), default=behind)
    around = text[left:right]
    quoted = quotes[text[:left].count(_MARK)] if _MARK in around else ''
    wish = Wish(' '.join(around.replace(_MARK, ' ').split()), quoted)
    if i and left == before and steps[-1][0] is op:  # "flip it upside down": one operation, named twice
      earlier = steps.pop()[1]
      rest = ' '.join(text[match.start() : right].replace(_MARK, ' ').split())
      wish = Wish(f'{earlier.text} {rest}', earlier.quoted or wish.quoted)
    steps.append((op, wish))
  return steps


def _perform(picture: Pil.Image, steps: list[tuple[Operation, Wish]]) -> Pil.Image:
  for op, wish in steps:
    picture = op.run(picture, wish)
    picture.thumbnail((MAX_SIDE, MAX_SIDE))
  return picture
