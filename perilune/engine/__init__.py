"""From requests to tokens: types, sampling, prefix reuse, scheduling."""
