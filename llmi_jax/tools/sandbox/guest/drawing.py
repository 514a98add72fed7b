"""The libraries that snippets draw with: imported once, warmed, and run for one snippet after the fork."""

import contextlib
import gc
import io
import os
import random
import sys
import traceback
import types

from llmi_jax.tools.sandbox.guest import protocol

MAX_PIXELS = 40_000_000
MAX_FIGURES = 16
_SUFFIXES = ('.png', '.jpg', '.jpeg', '.webp', '.gif')


def prepare(figsize: tuple[float, float], dpi: float, font_size: float, tight: bool) -> str:
  """Imports everything a plot may need and draws once, so that forks find it done; returns the versions.

  After the fork no library can be loaded (its pages could not be made executable), so what plots load late is
  loaded here.
  """
  sys.modules['pyarrow'] = None  # type: ignore[assignment]  # it starts threads, which must not be forked
  import matplotlib

  matplotlib.use('Agg')
  matplotlib.rcParams.update(
    {'figure.figsize': figsize, 'figure.dpi': dpi, 'font.size': font_size, 'figure.max_open_warning': 0}
  )
  if not tight:
    matplotlib.rc('figure.subplot', **_margins(*figsize, em=font_size / 72))
  import matplotlib.pyplot as plt
  import numpy as np
  import pandas as pd
  import scipy.interpolate
  import scipy.optimize
  import scipy.signal
  import scipy.stats
  import seaborn as sns

  _warm(plt, np, pd, sns)
  plt.close('all')
  gc.collect()
  gc.freeze()  # the collector would write to, and so copy, every page that the forks share
  named = [f'{module.__name__} {module.__version__}' for module in (matplotlib, np, pd, scipy, sns)]
  return f'python {sys.version.split()[0]}, ' + ', '.join(named)


def _margins(width: float, height: float, em: float) -> dict[str, float]:
  """Room for a title, labels and ticks, in shares of a figure that is not cut tight; `em` in inches."""
  return {
    'left': 5 * em / width,
    'right': 1 - em / width,
    'bottom': 4 * em / height,
    'top': 1 - 2.2 * em / height,
  }


def _warm(plt, np, pd, sns):
  """Draws one of each kind of plot that loads something of its own."""
  dates = pd.date_range('2024-01-01', periods=12, freq='MS')
  frame = pd.DataFrame({'x': np.arange(12.0), 'y': np.arange(12.0) % 5, 'kind': list('abc') * 4}, index=dates)
  grid = np.outer(np.arange(8.0), np.arange(8.0))
  figure, axes = plt.subplots(2, 2)
  frame['y'].plot(ax=axes[0, 0], title='Title', legend=True)
  sns.barplot(data=frame, x='kind', y='y', ax=axes[0, 1])
  axes[1, 0].contourf(grid)
  axes[1, 0].set_xlabel(r'$\alpha^2$ x')
  sns.kdeplot(data=frame, x='y', ax=axes[1, 1])
  figure.savefig(io.BytesIO(), format='png', bbox_inches='tight')
  sns.heatmap(grid)
  plt.figure().add_subplot(projection='3d').plot_surface(grid, grid, grid)
  plt.figure().add_subplot(projection='polar').plot([0, 1], [0, 1])
  plt.figure().add_subplot().tricontour(frame.x, frame.y + frame.x**2, frame.x)
  sns.regplot(data=frame, x='x', y='y')
  plt.plot([0, 1], [0, 1], marker='o', label='line')
  plt.legend()
  plt.ylabel('label', rotation=90)
  for number in plt.get_fignums():
    plt.figure(number).savefig(io.BytesIO(), format='png')
  plt.figure().savefig(io.BytesIO(), format='jpg')


class Transcript(io.TextIOBase):
  """Standard output and error of a snippet; what is beyond the limit is dropped."""

  def __init__(self, limit: int = protocol.MAX_TEXT):
    self._left = limit
    self._parts: list[str] = []

  def writable(self) -> bool:
    return True

  def write(self, text: str) -> int:
    if self._left > 0:
      self._parts.append(text[: self._left])
      self._left -= len(text)
    return len(text)

  def text(self) -> str:
    return ''.join(self._parts)


def run(code: str, tight: bool) -> protocol.Reply:
  """Runs a snippet in a fresh `__main__` and returns its picture, if it made one."""
  import matplotlib.pyplot as plt
  import numpy as np
  import pandas as pd
  import seaborn as sns

  random.seed(0)
  np.random.seed(0)
  module = types.ModuleType('__main__')
  vars(module).update(np=np, pd=pd, plt=plt, sns=sns)
  sys.modules['__main__'] = module
  sys.argv = ['plot.py']
  transcript = Transcript()
  try:
    with contextlib.redirect_stdout(transcript), contextlib.redirect_stderr(transcript):
      # Running model-written code is what this process, and nothing else, is for.
      exec(compile(code, 'plot.py', 'exec', dont_inherit=True), vars(module))  # noqa: S102
  except SystemExit as end:
    if end.code not in (None, 0):
      return protocol.Reply(error=f'SystemExit: {end.code}', text=transcript.text())
  except BaseException as error:  # noqa: BLE001  (whatever the snippet raises is its result)
    return protocol.Reply(error=_last_line(error), text=transcript.text())
  try:
    picture, problem = _picture(plt, tight)
  except Exception as error:  # noqa: BLE001  (drawing is lazy: the snippet's mistakes surface here)
    picture, problem = b'', _last_line(error)
  return protocol.Reply(picture, problem, transcript.text())


def _picture(plt, tight: bool) -> tuple[bytes, str]:
  """The last picture that the snippet saved, else its current figure."""
  if saved := _saved():
    return saved, ''
  numbers = plt.get_fignums()
  if not numbers:
    return b'', 'The code made no figure.'
  if len(numbers) > MAX_FIGURES:
    return b'', f'The code made {len(numbers)} figures; at most {MAX_FIGURES} are allowed.'
  figure = plt.gcf()
  width, height = figure.get_size_inches() * figure.dpi
  if not width * height <= MAX_PIXELS:
    return b'', f'The figure has {width:.0f}×{height:.0f} pixels; at most {MAX_PIXELS:,} are drawn.'
  buffer = io.BytesIO()
  # The host compresses again; here only speed counts.
  options = {'compress_level': 1}
  figure.savefig(buffer, format='png', bbox_inches='tight' if tight else None, pil_kwargs=options)
  return buffer.getvalue(), ''


def _saved() -> bytes:
  """The newest regular picture file in the working folder."""
  found = []
  for folder, _, names in os.walk('.'):
    for name in names:
      path = os.path.join(folder, name)
      if name.lower().endswith(_SUFFIXES) and os.path.isfile(path) and not os.path.islink(path):
        found.append((os.stat(path).st_mtime_ns, path))
  if not found:
    return b''
  with open(max(found)[1], 'rb', opener=lambda p, flags: os.open(p, flags | os.O_NOFOLLOW)) as file:
    return file.read(protocol.MAX_PICTURE + 1)


def _last_line(error: BaseException) -> str:
  lines = traceback.format_exception_only(error)
  return lines[-1].strip()[: protocol.MAX_ERROR] or type(error).__name__
