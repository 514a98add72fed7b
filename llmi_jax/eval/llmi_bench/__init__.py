"""LLMI-Bench (arXiv 2509.13642): criteria of each sample's own, each 0, 1 or 2."""
