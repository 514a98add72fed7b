"""LLM-I (arXiv 2509.13642) in JAX: documents of text and pictures through tool use."""

__version__ = '0.1.0'
