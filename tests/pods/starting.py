"""Starts processes that find each other over the loopback."""

import os
import pathlib
import socket
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
CONFIG = ROOT / 'configs' / 'grpo_tiny.py'
LONGEST = 900  # seconds, far beyond what anything here takes


def free_port() -> int:
  with socket.socket() as found:
    found.bind(('127.0.0.1', 0))
    return found.getsockname()[1]


def environment(devices: int = 1) -> dict[str, str]:
  return {**os.environ, 'JAX_PLATFORMS': 'cpu', 'JAX_NUM_CPU_DEVICES': str(devices), 'PYTHONPATH': str(ROOT)}


def pair(arguments: list[str], module: str = 'llmi_jax.main') -> list[subprocess.Popen[str]]:
  """Two processes of one run."""
  port = free_port()
  told = (f'distributed.coordinator=127.0.0.1:{port}', 'distributed.processes=2', 'mesh.fsdp=0')
  return [
    start([*arguments, *(f'--config.{one}' for one in (*told, f'distributed.process={process}'))], module)
    for process in range(2)
  ]


def start(arguments: list[str], module: str = 'llmi_jax.main') -> subprocess.Popen[str]:
  command = [sys.executable, '-m', module, f'--config={CONFIG}', *arguments]
  return subprocess.Popen(command, cwd=ROOT, env=environment(), stderr=subprocess.PIPE, text=True)


def ended(processes: list[subprocess.Popen[str]], seconds: float = LONGEST) -> list[tuple[int, str]]:
  """Exit code and stderr of each; whoever has not ended by then is killed, and the test fails."""
  try:
    said = [process.communicate(timeout=seconds)[1] for process in processes]
  finally:
    for process in processes:
      process.kill()
  return [(process.returncode, words) for process, words in zip(processes, said)]
