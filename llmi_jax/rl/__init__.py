"""Reinforcement learning as pure functions of arrays; no model, no config, no I/O.

gate        reward parts → one reward
overlong    what nearing the length limit costs
advantages  rewards of a group → advantages
ratios      log-probabilities → log importance ratios (GRPO per token, GSPO per sequence)
clip        ratio and advantage → clipped surrogate, or CISPO's loss, per token
correction  truncated importance sampling against the sampler's log-probabilities
aggregate   loss per token → one number
kl          estimators against a reference policy
balance     keeps a mixture's experts in use
logprobs    hidden states → log-probabilities of tokens, in chunks
loss        the above, composed
"""
