"""Weights in and out of Hugging Face folders, total in both directions.

format     the safetensors format: headers, parts of tensors
catalogue  which tensors a folder holds, and where each belongs
stream     from files to devices, one tensor at a time
load       folder → model
save       model → folder
peft       LoRA adapters in PEFT's form, in and out
fused      those of fused experts, taken apart
"""
