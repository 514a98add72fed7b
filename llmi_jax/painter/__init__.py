"""The built-in text-to-image model: captions of a small vocabulary in, pictures of 64×64 pixels out."""
