"""How much of its devices' peak a step used."""

# Dense bf16 floating-point operations per second of one device, by what JAX calls its kind; makers' figures.
PEAKS = {
  'TPU v4': 275e12,
  'TPU v5 lite': 197e12,
  'TPU v5e': 197e12,
  'TPU v5': 459e12,
  'TPU v5p': 459e12,
  'TPU v6 lite': 918e12,
  'TPU v6e': 918e12,
  'NVIDIA A100': 312e12,
  'NVIDIA H100': 989e12,
  'NVIDIA H200': 989e12,
}
SAMPLED, LEARNED = 2, 6  # operations per parameter and token: forward; forward and backward


def peak(kind: str) -> float | None:
  """Of a device kind such as `NVIDIA H100 80GB HBM3`; None where no figure is known."""
  # GPUs go on with their memory; a TPU that goes on is another one.
  fitting = [n for n in PEAKS if kind == n or (n.startswith('NVIDIA') and kind.startswith(f'{n} '))]
  return PEAKS[max(fitting, key=len)] if fitting else None


def utilization(params: int, tokens: int, seconds: float, devices: int, each: float) -> float:
  """Model FLOPs of a step over what its devices could have done.

  Every token, prompts included, passes the policy once when it is sampled and once, with its gradient, when
  it is learned from; attention's share, work that is done again and other models are not counted.

  Args:
    params: that a token passes, active experts only.
    tokens: of prompts and responses of this process.
    seconds: of the whole step.
    devices: of this process.
    each: operations per second of one at its peak.
  """
  return (SAMPLED + LEARNED) * params * tokens / (seconds * devices * each)
