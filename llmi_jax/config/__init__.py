"""Configs as data: reading a file, typed overrides, what every key means, differences, sweeps.

source    a path → a config: Python, YAML, JSON or a run's folder
override  `--config.KEY=VALUE` and its type
plain     nested plain values, YAML, differences
meaning   what a key means: the comments of the config's files
listing   what people read: the configs there are, the keys of one
sweep     values of several keys → runs with stable names
"""
