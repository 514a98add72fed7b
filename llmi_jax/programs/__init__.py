"""What every device program is made of: a policy's functions, bound to its config and sizes.

generation  for the engine
learning    for the update
responding  a decoder over the learner's rows
program     a program as a record, to be lowered without weights
"""
