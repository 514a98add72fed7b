"""Reinforcement learning as pure functions of arrays; no model, no config, no I/O.

gate        reward parts → one reward
advantages  rewards of a group → advantages
ratios      log-probabilities → log importance ratios (GRPO per token, GSPO per sequence)
clip        ratio and advantage → clipped surrogate loss per token
aggregate   loss per token → one number
kl          estimators against a reference policy
logprobs    hidden states → log-probabilities of tokens, in chunks
loss        the above, composed
"""
