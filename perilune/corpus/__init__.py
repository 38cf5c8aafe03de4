"""Openly licensed text to train and score on: what it is, how it is read, which part is held out."""
