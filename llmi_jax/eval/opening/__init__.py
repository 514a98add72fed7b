"""OpenING (arXiv 2411.18499): records, the form of outputs, absolute scores, and the arena of pairs."""
