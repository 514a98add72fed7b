"""Samples of one process's requests; its engine shares a mesh with another's: python engine.py PORT I OUT."""

import json
import pathlib
import sys

import jax

jax.config.update('jax_platforms', 'cpu')
jax.config.update('jax_num_cpu_devices', 4)
port, process, out = sys.argv[1:]
jax.distributed.initialize(f'127.0.0.1:{port}', 2, int(process), heartbeat_timeout_seconds=30)

from llmi_jax.rollout.accord import Accord  # noqa: E402  the processes find each other first
from tests.sampling import test_mesh  # noqa: E402

mesh = {'fsdp': 4, 'tensor': 2}
found = test_mesh.run(test_mesh.DENSE, test_mesh.SIZES, mesh, accord=Accord())
kept = [[*key, sample.tokens.tolist(), sample.logp_full.tolist()] for key, sample in found.items()]
pathlib.Path(out).write_text(json.dumps(kept))
jax.distributed.shutdown()
