"""What the training path must not import."""

import subprocess
import sys


def test_training_never_imports_torch():
  script = """
import sys
import llmi_jax.main
from llmi_jax import wiring

wiring.load_policy('builtin:tiny')
print(sorted({'torch', 'diffusers', 'tensorflow', 'accelerate'} & set(sys.modules)))
"""
  done = subprocess.run([sys.executable, '-c', script], capture_output=True, text=True, check=True)
  assert done.stdout.strip() == '[]'
