"""Package metadata. Every dependency is here for the reason beside it."""

import pathlib

from setuptools import find_packages, setup

REQUIRES = [
  'absl-py>=2.1',  # entry points and flags, as the JAX field has them
  'flax>=0.12.8',  # nnx modules as immutable pytrees
  'grain>=0.2.18',  # task order as a function of (seed, step)
  'httpx2>=2.16',  # remote judges and tools; httpx 0.28 leaks connections under cancellation
  'jax>=0.10',  # the device side
  'jinja2>=3.1.6',  # chat templates and report pages
  'markdown-it-py>=4',  # prose of answers → HTML without raw HTML
  'matplotlib>=3.10',  # the code tool's plots
  'ml-collections>=1.1',  # configs
  'nh3>=0.3',  # second wall behind markdown-it: an allow-list sanitiser
  'numpy>=2',
  'optax>=0.2.8',  # AdamW and schedules
  'orbax-checkpoint>=0.12.8',  # asynchronous, sharded checkpoints
  'pandas>=2.2',  # offered to the code tool
  'pillow>=12.3',  # decoding, editing and encoding pictures
  'pyarrow>=23.0.1',  # tasks and rollouts as parquet
  'rank-bm25>=0.2.2',  # ranked retrieval for the built-in search
  'rich>=14',  # progress on a terminal
  'pyyaml>=6',  # configs as text that any reader takes
  'safetensors>=0.8',  # weights without pickle
  'scikit-image>=0.26',  # ships real photographs under free licences
  'scikit-learn>=1.6',  # likewise
  'seaborn>=0.13',  # offered to the code tool
  'tokenizers>=0.23',  # byte-level BPE
  'transformers>=5.23,<6',  # tokenizers, chat templates and configs of released models; used without torch
]

EXTRAS = {
  'tpu': ['jax[tpu]>=0.10'],
  'cuda': ['jax[cuda12]>=0.10'],
  'diffusion': ['torch>=2.6', 'diffusers>=0.42', 'accelerate>=1.15'],  # local image pipelines
  'tfds': ['tensorflow-datasets>=4.9.10'],  # task sets as TFDS builders, read without TensorFlow
  'trackio': ['trackio>=0.4'],  # a tracker that keeps its data here
  'wandb': ['wandb>=0.19'],  # a tracker elsewhere
  'serve': ['starlette>=1.0', 'uvicorn>=0.40'],  # tools, chat and viewer over HTTP
  'test': [
    'axe-playwright-python>=0.1.8',  # axe-core, which audits pages for accessibility
    'datasets>=4',  # opens rollout files as their users do
    'diffusers>=0.42',  # tiny local pipelines behind the diffusion tool
    'hypothesis>=6.150',  # properties of parsers and judges
    'peft>=0.21',  # the second implementation of LoRA files
    'playwright>=1.55',  # the report in a real browser
    'pyright[nodejs]>=1.1.400',  # types
    'pytest>=9',
    'ruff>=0.15',  # format and lint
    'segno>=1.6',  # the second implementation of QR codes
    'tensorboardX>=2.6',  # the second implementation of event files
    'starlette>=1.0',  # the tool and chat servers, tested over real sockets
    'torch>=2.6',  # the second implementation that numbers are compared with
    'uvicorn>=0.40',
  ],
}

setup(
  name='llmi_jax',
  version='0.1.0',
  description='LLM-I in JAX: train language models that write documents of text and images through tools.',
  long_description=pathlib.Path(__file__).with_name('README.md').read_text(),
  long_description_content_type='text/markdown',
  license='Apache-2.0',
  python_requires='>=3.11',
  packages=find_packages(include=['llmi_jax', 'llmi_jax.*']),
  package_data={
    'llmi_jax': [
      'assets/**/*',
      'judges/templates/*',
      'text/templates/*',
      'report/templates/*',
      'tts/templates/*',
      'view/templates/*',
      'eval/prompts/*',
      'eval/templates/*',
      'eval/examples/**/*',
    ]
  },
  install_requires=REQUIRES,
  extras_require=EXTRAS,
)
