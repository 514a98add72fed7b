"""The sandbox as tools use it: a snippet in, a picture or the reason why there is none out."""

import asyncio
import contextlib
import dataclasses
import io
import json
import os
import signal
import sys

from llmi_jax.core.errors import DataError, SandboxError
from llmi_jax.core.image import Image
from llmi_jax.services import images
from llmi_jax.tools.sandbox import probe, tiers
from llmi_jax.tools.sandbox.guest import protocol, seccomp
from llmi_jax.tools.sandbox.outside import Outside
from llmi_jax.tools.sandbox.view import view

_PROBE_SECONDS = 20.0
_GRACE = 5.0  # seconds beyond a job's own deadline after which the launcher itself is at fault


@dataclasses.dataclass(frozen=True)
class Figures:
  """What a snippet's figures are like unless it says otherwise.

  Attributes:
    width: inches.
    height: inches.
    dpi: pixels per inch.
    font_size: points.
    tight: cut to what is drawn; takes a second pass of drawing.
  """

  width: float = 6.4
  height: float = 4.8
  dpi: float = 100.0
  font_size: float = 10.0
  tight: bool = True

  def json(self) -> str:
    size = (self.width, self.height)
    fields = {'figsize': size, 'dpi': self.dpi, 'font_size': self.font_size, 'tight': self.tight}
    return json.dumps(fields)


@dataclasses.dataclass(frozen=True)
class Result:
  """What became of a snippet.

  Attributes:
    picture: its picture; None exactly where `error` says why.
    error: one sentence or the last line of the traceback.
    text: what it printed, cut at 200,000 characters.
    versions: the libraries it ran with.
    seconds: wall time.
  """

  picture: Image | None
  error: str
  text: str
  versions: str
  seconds: float


class SandboxLost(Exception):
  """The launcher died under a job; the job says nothing about the snippet."""


class Sandbox:
  """A launcher that is restarted when it dies, and at most `jobs` snippets at once."""

  def __init__(
    self, tier: str, figures: Figures, start: tiers.Start, outside: Outside, versions: str, jobs: int
  ):
    self.tier = tier
    self.versions = versions
    self.identity = f'{versions}; figures {figures.json()}'
    self._start = start
    self._outside = outside
    self._places = asyncio.Semaphore(jobs)
    self._restart = asyncio.Lock()

  @classmethod
  async def open(cls, figures: Figures | None = None, jobs: int = 2) -> 'Sandbox':
    """Starts the strongest tier that holds on this machine.

    Raises:
      SandboxError: none holds; no code must run.
    """
    if sys.platform != 'linux' or os.uname().machine not in seccomp.ARCHITECTURES:
      raise SandboxError('The code tool runs on Linux on x86_64 and aarch64 only; leave it out here.')
    figures = figures or Figures()
    reasons = []
    for name, build in tiers.TIERS:
      try:
        start = build(view(), figures.json())
        outside = Outside(start.command, start.environment)
        versions = await _started(outside)
      except SandboxError as error:
        reasons.append(f'{name}: {error}')
        continue
      sandbox = cls(name, figures, start, outside, versions, jobs)
      fault = await sandbox._escapes() or await sandbox._draws()
      if not fault:
        return sandbox
      await sandbox.close()
      reasons.append(f'{name}: {fault}')
    raise SandboxError(
      f'No sandbox holds here ({"; ".join(reasons)}); install one: apt-get install bubblewrap, and let '
      'user namespaces be made, or leave the code tool out.'
    )

  async def run(self, code: str, *, deadline: float = 10.0) -> Result:
    """Runs a snippet, in a process and a folder of its own.

    Args:
      code: at most 200,000 characters.
      deadline: seconds of wall time, and of processor time, that it may take.

    Raises:
      SandboxLost: the launcher died meanwhile.
      SandboxError: the launcher cannot be started again.
    """
    if len(code) > protocol.MAX_CODE:
      words = f'The code has {len(code):,} characters; at most {protocol.MAX_CODE:,} are run.'
      return Result(None, words, '', self.versions, 0.0)
    async with self._places:
      data, end = await self._exchange(code.encode('utf-8', 'replace'), deadline)
    if end is None:
      raise SandboxLost('The sandbox ended under the job.')
    return self._judge(data, end, deadline)

  async def close(self):
    """Ends everything that the sandbox has started."""
    await asyncio.to_thread(self._outside.close)

  async def _exchange(self, code: bytes, deadline: float) -> tuple[bytes, protocol.End | None]:
    """Hands the code over; returns what the job wrote and what the launcher says of its end."""
    outside = await self._running()
    with contextlib.ExitStack() as stack:
      source, reply, reply_end, end, end_end = (stack.enter_context(pipe) for pipe in _pipes(code))
      try:
        theirs = (source, reply_end, end_end)
        outside.send(protocol.Request(deadline, deadline).pack(), [pipe.fileno() for pipe in theirs])
      except OSError as error:
        raise SandboxLost('The sandbox ended before the job began.') from error
      for pipe in theirs:
        pipe.close()
      try:
        async with asyncio.timeout(deadline + _GRACE):
          data = await _read(reply, protocol.MAX_REPLY)
          reply.close()  # whoever writes on is not listened to
          return data, protocol.End.unpack(await _read(end, 64))
      except TimeoutError:
        await asyncio.to_thread(outside.close)
        return b'', None

  async def _running(self) -> Outside:
    """The launcher, started again if it has died."""
    async with self._restart:
      if not self._outside.alive:
        await asyncio.to_thread(self._outside.close)
        self._outside = Outside(self._start.command, self._start.environment)
        await _started(self._outside)
      return self._outside

  async def _escapes(self) -> str:
    """What the tier failed to stop, in words, or an empty text."""
    try:
      with probe.canaries() as code:
        result = await self.run(code, deadline=_PROBE_SECONDS)
    except SandboxLost:
      return 'it broke under the escape attempts'
    held = result.text.strip() == probe.HELD
    return '' if held else f'does not hold ({result.text.strip() or result.error})'

  async def _draws(self) -> str:
    """What keeps the tier from drawing, or an empty text."""
    try:
      result = await self.run(probe.DRAWING, deadline=_PROBE_SECONDS)
    except SandboxLost:
      return 'it broke while drawing'
    return '' if result.picture else f'cannot draw ({result.error})'

  def _judge(self, data: bytes, end: protocol.End, deadline: float) -> Result:
    reply = protocol.Reply.unpack(data) or protocol.Reply()
    error, picture = reply.error, None
    if end.kind == protocol.OVERDUE:
      error = f'The code was stopped after {deadline:g} s.'
    elif end.kind == protocol.SIGNALLED or end.code:
      error = f'The code was killed at a limit of the sandbox ({_word(end)}).'
    elif not error and reply.picture:
      try:
        picture = images.decode(reply.picture, source='code')
      except DataError as problem:
        error = str(problem)
    if picture is None and not error:
      error = 'The code made no figure.'
    return Result(None if error else picture, error, reply.text, self.versions, end.seconds)


async def _started(outside: Outside) -> str:
  """Waits for a launcher; one that is no longer wanted is killed."""
  try:
    return await asyncio.to_thread(outside.wait)
  except asyncio.CancelledError:
    outside.kill()
    raise


def _word(end: protocol.End) -> str:
  """How a job ended, for people."""
  if end.kind == protocol.EXITED:
    return f'exit status {end.code}'
  return signal.Signals(end.code).name if end.code in set(signal.Signals) else f'signal {end.code}'


def _pipes(code: bytes) -> list[io.FileIO]:
  """The code as a file, the job's pipe and the launcher's pipe, each with its two ends."""
  source = os.memfd_create('code', os.MFD_CLOEXEC)
  os.pwrite(source, code, 0)
  descriptors = [source, *os.pipe(), *os.pipe()]
  modes = ['rb', 'rb', 'wb', 'rb', 'wb']
  return [io.FileIO(descriptor, mode) for descriptor, mode in zip(descriptors, modes)]


async def _read(pipe: io.FileIO, limit: int) -> bytes:
  """Everything until the end, or a little more than `limit`."""
  os.set_blocking(pipe.fileno(), False)
  data = bytearray()
  while len(data) <= limit:
    chunk = pipe.read(1 << 18)
    if chunk is None:
      await _readable(pipe.fileno())
    elif chunk:
      data += chunk
    else:
      break
  return bytes(data)


async def _readable(descriptor: int):
  loop = asyncio.get_running_loop()
  ready = loop.create_future()
  loop.add_reader(descriptor, lambda: ready.done() or ready.set_result(None))
  try:
    await ready
  finally:
    loop.remove_reader(descriptor)
