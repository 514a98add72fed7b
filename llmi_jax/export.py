"""Writes a trained policy as a Hugging Face folder, to be served or trained elsewhere.

    python -m llmi_jax.export --policy=RUN --out=DIR [--dtype=bfloat16] [--adapter]

RUN is a work folder; its newest checkpoint is written, with the tokenizer and configs of the policy that it
began with. LoRA adapters are merged, or with --adapter written alone, in PEFT's form.
"""

from absl import flags
from ml_collections import ConfigDict

from llmi_jax import front, wiring
from llmi_jax.core.errors import ConfigError
from llmi_jax.models import lora
from llmi_jax.weights import peft, save

POLICY = flags.DEFINE_string('policy', None, 'Work folder of a run.', required=True)
OUT = flags.DEFINE_string('out', None, 'Folder to write; must not exist or be empty.', required=True)
DTYPE = flags.DEFINE_enum('dtype', 'bfloat16', save.DTYPES, 'Of the weights in the files.')
ADAPTER = flags.DEFINE_bool('adapter', False, 'Write LoRA adapters alone, in float32.')


def main(_: ConfigDict) -> None:
  """Reads the checkpoint and writes the folder."""
  save.check_free(OUT.value)
  _, policy = wiring.trained(POLICY.value)
  if not ADAPTER.value:
    save.save_pretrained(policy.model, policy.config, OUT.value, policy.folder, dtype=DTYPE.value, merge=True)
  elif lora.adapters(policy.model):
    peft.save_adapter(policy.model, policy.config, OUT.value, base=str(policy.folder))
  else:
    raise ConfigError(
      f'{POLICY.value} was trained without LoRA, so there is no adapter; leave out --adapter.'
    )
  print(f'Policy: {OUT.value}')


if __name__ == '__main__':
  front.run(main, config_required=False)
