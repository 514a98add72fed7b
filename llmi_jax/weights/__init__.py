"""Weights in and out of Hugging Face folders, total in both directions.

names  which tensor of a file is which leaf of a model
load   folder → model
save   model → folder
"""
