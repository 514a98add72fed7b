"""Records that every room shares. No jax, no I/O, no behaviour beyond validation."""
