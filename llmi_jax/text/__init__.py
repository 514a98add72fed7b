"""Between text and records: prompts and tokens going in, responses taken apart coming out.

grammar: a response → `Document` (`parse`, the incremental `Parser`, `REASONS`). Its parts: markers (cuts a
stream at the four marks), tag (one open tag), literal (the strict reading), repair (the reading of unescaped
code), check (a reading against the tools' specs), fences (Markdown code fences), reasons (why a tag is none).
tokens: a folder's tokenizer; detokenize: token ids → text, one at a time.
chat: messages → token ids, by the tokenizer's own template. prompts: a `Task` → `Prompt`.
pictures: a picture → patches for a policy that sees.
bpe: makes a small byte-level tokenizer with Qwen's special tokens.
"""
