"""What runs inside the sandbox. Imports nothing of the package outside this folder: no other is visible."""
