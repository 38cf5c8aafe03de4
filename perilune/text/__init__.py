"""Text in, ids out, and back: tokenizer, chat template, tool declaration, reply parser."""
