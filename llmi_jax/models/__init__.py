"""Policy models: Flax NNX modules used as immutable pytrees.

config     the shape of a decoder, read from a Hugging Face `config.json`
rope       rotary position angles
attention  grouped-query attention over one or two key/value parts
cache      key/value storage: a prefix shared by a group, a suffix per row
decoder    embedding, blocks, final norm; `forward` and `unembed`
mrope      positions of prompts with pictures, in three axes
vision     the tower: patches of pictures → features of image tokens
vision_layout  where patches lie in the tower's static slots
"""
