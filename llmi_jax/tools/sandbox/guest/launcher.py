"""The first process inside: imports the drawing libraries once, then forks a confined child for every job.

It never runs a line of model-written code itself, has one thread, and ends when the host closes the control
socket.
"""

import contextlib
import json
import os
import select
import signal
import socket
import sys
import time

from llmi_jax.tools.sandbox.guest import confine, drawing, kernel, protocol


class Job:
  """A child at work.

  Attributes:
    watch: a descriptor that becomes readable when it ends.
    end: the pipe on which the host waits for its end; hangs up when the host no longer does.
    deadline: reading of `time.monotonic` at which it is killed.
    overdue: whether it was killed there.
  """

  def __init__(self, process: int, end: int, seconds: float):
    self._process = process
    self._started = time.monotonic()
    self.watch = os.pidfd_open(process)
    self.end = end
    self.deadline = self._started + seconds
    self.overdue = False

  def kill(self):
    """Kills it and, since it is the first of its pid namespace, all that is in there."""
    self.overdue = True
    signal.pidfd_send_signal(self.watch, signal.SIGKILL)

  def report(self):
    """Reaps it and tells the host how it ended."""
    _, status = os.waitpid(self._process, 0)
    code = os.waitstatus_to_exitcode(status)
    kind = protocol.OVERDUE if self.overdue else protocol.EXITED if code >= 0 else protocol.SIGNALLED
    message = protocol.End(kind, abs(code), time.monotonic() - self._started)
    with contextlib.suppress(BrokenPipeError):  # the host no longer waits
      os.write(self.end, message.pack())
    os.close(self.end)
    os.close(self.watch)


class Launcher:
  """Forks jobs and watches them."""

  def __init__(self, control: socket.socket, tight: bool):
    self._control = control
    self._tight = tight
    self._watched: dict[int, Job] = {}
    self._own_pids = os.pidfd_open(os.getpid())
    self._poll = select.epoll()
    self._poll.register(control, select.EPOLLIN)

  def serve(self):
    """Runs until the host goes away."""
    while True:
      for descriptor, _ in self._poll.poll(self._patience()):
        if descriptor == self._control.fileno():
          if not self._accept():
            return
        elif job := self._watched.get(descriptor):
          if descriptor == job.watch:
            self._finish(job)
          else:  # the host hung up
            self._poll.unregister(job.end)
            job.kill()
      for job in set(self._watched.values()):
        if not job.overdue and time.monotonic() >= job.deadline:
          job.kill()

  def _patience(self) -> float | None:
    waiting = [job.deadline for job in self._watched.values() if not job.overdue]
    return max(0.0, min(waiting) - time.monotonic()) if waiting else None

  def _accept(self) -> bool:
    """Starts the job that the host asks for; False where the host is gone."""
    message, descriptors, _, _ = socket.recv_fds(self._control, 64, 3)
    if not message:
      return False
    code, reply, end = descriptors
    request = protocol.Request.unpack(message)
    kernel.unshare(kernel.NEW_PID)  # for the next child
    process = os.fork()
    if not process:
      self._become(code, reply, request)
    kernel.setns(self._own_pids, kernel.NEW_PID)
    os.close(code)
    os.close(reply)
    job = Job(process, end, request.seconds)
    self._watched |= {job.watch: job, job.end: job}
    self._poll.register(job.watch, select.EPOLLIN)
    self._poll.register(job.end, 0)  # errors and hang-ups are always told
    return True

  def _finish(self, job: Job):
    del self._watched[job.watch], self._watched[job.end]
    job.report()  # closing a descriptor ends its registration

  def _become(self, code: int, reply: int, request: protocol.Request):
    """The child: never returns."""
    status = 1
    try:
      with open(code, 'rb') as file:
        text = file.read().decode()
      confine.confine(reply, request.cpu)
      data = memoryview(drawing.run(text, self._tight).pack())
      while data:
        data = data[os.write(3, data) :]
      status = 0
    finally:
      os._exit(status)


def main():
  """Reads its settings from the command line and serves the socket that is its standard input."""
  kernel.die_with_parent()
  kernel.undumpable()
  control = socket.socket(fileno=os.dup(0))
  os.dup2(os.open('/dev/null', os.O_RDWR), 0)
  settings = json.loads(sys.argv[1])
  versions = drawing.prepare(
    tuple(settings['figsize']), settings['dpi'], settings['font_size'], settings['tight']
  )
  if not kernel.single_threaded():
    sys.exit('a library has started a thread, which must not be forked')
  control.send(versions.encode())
  Launcher(control, settings['tight']).serve()
