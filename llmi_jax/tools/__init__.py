"""What a policy can ask for a picture: search, diffusion, code, edit, and the dispatcher that runs them."""
