"""The scoring workshop: how good a model is on questions and texts it never saw."""
