"""The code tool on a remote executor that speaks SandboxFusion's HTTP protocol: `POST /run_code`.

The snippet travels as a file; a short harness runs it and leaves its picture and what went wrong as files,
which are fetched back and treated like anything that strangers wrote.
"""

import base64
import binascii
import json
from typing import Any, NamedTuple

from llmi_jax.core.outcome import Candidate, ToolOutcome
from llmi_jax.core.toolspec import ToolSpec
from llmi_jax.services.faults import ServiceFault
from llmi_jax.tools import pictures
from llmi_jax.tools.code import SPEC, unfenced
from llmi_jax.tools.registry import Context, Params, Tool, ToolFailure, success
from llmi_jax.tools.sandbox.guest.protocol import MAX_CODE, MAX_TEXT
from llmi_jax.tools.servers import Servers

_SNIPPET, _PICTURE, _NOTE = 'snippet.py', 'picture.png', 'note.json'

_HARNESS = """
import json, sys, traceback
import matplotlib
matplotlib.use('Agg')
matplotlib.rcParams.update(SETTINGS)
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
named = [f'{m.__name__} {m.__version__}' for m in (matplotlib, np, pd, sns)]
note = {'versions': f'python {sys.version.split()[0]}, ' + ', '.join(named), 'error': ''}
try:
  code = compile(open('snippet.py', encoding='utf-8').read(), 'plot.py', 'exec')
  exec(code, {'__name__': '__main__', 'plt': plt, 'np': np, 'pd': pd, 'sns': sns})
  if plt.get_fignums():
    plt.gcf().savefig('picture.png', format='png', bbox_inches='tight')
  else:
    note['error'] = 'The code made no figure.'
except BaseException as error:
  note['error'] = traceback.format_exception_only(error)[-1].strip()
with open('note.json', 'w') as file:
  json.dump(note, file)
"""


class _Run(NamedTuple):
  """What came back of a run.

  Attributes:
    finished: `Finished`, `Error` or `TimeLimitExceeded`.
    picture: base64 of a file; empty where there is none.
    error: the last line of a traceback.
    versions: of the libraries there.
    text: what was printed.
  """

  finished: str
  picture: str
  error: str
  versions: str
  text: str


def remote_code_tool(
  servers: Servers,
  *,
  figsize: tuple[float, float] = (6.4, 4.8),
  dpi: float = 100.0,
  font_size: float = 10.0,
  seconds: float = 10.0,
  spec: ToolSpec = SPEC,
) -> Tool:
  """The code tool on SandboxFusion servers.

  Args:
    servers: where they are.
    figsize: inches of a figure that sets none.
    dpi: pixels per inch.
    font_size: points.
    seconds: that a snippet may take; exceeding them is the policy's doing.
    spec: what prompts say of it.
  """
  settings = {'figure.figsize': list(figsize), 'figure.dpi': dpi, 'font.size': font_size}
  harness = f'SETTINGS = {settings!r}\n{_HARNESS}'

  async def call(params: Params, context: Context) -> ToolOutcome:
    code = unfenced(str(params['code']))
    if len(code) > MAX_CODE:
      raise ToolFailure(f'The code has {len(code):,} characters; at most {MAX_CODE:,} are run.', 'policy')
    body = {
      'code': harness,
      'language': 'python',
      'run_timeout': seconds,
      'files': {_SNIPPET: base64.b64encode(code.encode('utf-8', 'replace')).decode()},
      'fetch_files': [_PICTURE, _NOTE],
    }
    run = await servers.ask('POST', '/run_code', _read, until=context.deadline, json=body)
    executed = (('code', code),)
    if run.finished == 'TimeLimitExceeded':
      raise ToolFailure(f'The code was stopped after {seconds:g} s.', 'policy', executed=executed)
    if run.error or not run.picture:
      raise ToolFailure(run.error or 'The code made no figure.', 'policy', executed=executed)
    try:
      image = await pictures.decode(run.picture, 'code')
    except ServiceFault as fault:  # the snippet's own file
      raise ToolFailure(str(fault), 'policy', executed=executed) from fault
    artefacts = tuple((name, text) for name, text in (('text', run.text), ('versions', run.versions)) if text)
    return success(Candidate(image), executed=executed, artefacts=artefacts)

  return Tool(spec, call, provider=servers.name, model=json.dumps(settings), gauges=servers.gauges)


def _read(data: Any) -> _Run:
  if data['status'] == 'SandboxError':
    raise ServiceFault('server', f'The sandbox server failed: {str(data.get("message", ""))[:200]}.')
  run, files = data['run_result'], data.get('files') or {}
  note = {}
  if files.get(_NOTE):
    try:
      note = dict(json.loads(base64.b64decode(files[_NOTE])))
    except (binascii.Error, ValueError, TypeError):
      note = {'error': 'The code spoilt its own record.'}  # only the snippet can have
  elif run['status'] != 'TimeLimitExceeded':
    last = str(run.get('stderr') or '').strip().splitlines()[-1:]
    note = {'error': last[0] if last else 'The code ended before it was done.'}
  return _Run(
    str(run['status']),
    str(files.get(_PICTURE) or ''),
    str(note.get('error', ''))[:2000],
    str(note.get('versions', ''))[:500],
    str(run.get('stdout') or '')[:MAX_TEXT],
  )
