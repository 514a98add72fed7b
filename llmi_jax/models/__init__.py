"""Policy models: Flax NNX modules used as immutable pytrees.

config         the shape of a policy, static and hashable
registry       the architectures, a line each; qwen3, qwen3_moe, qwen2_5_vl read and write their config.json
fields         what several of them share in it
names          which tensor of a file is which leaf
sharding       meshes, logical axes of every parameter, rules from those to mesh axes
linear         linear maps with room for a bias and an adapter; lora adds, splits off and merges adapters
rope           rotary position angles and their stretchings; mrope counts positions around pictures
attention      grouped-query attention over one or several key/value parts
cache          key/value storage: a prefix that rows share, a suffix per row
moe            a mixture of experts; grouped multiplies rows with their experts' matrices
blocks         the parts of a layer; spans finds the patterns that layers repeat
decoder        `forward`, `see`, `unembed`, and the view that generation uses
vision         the tower: patches of pictures → features; vision_layout says where patches lie in its slots
"""
