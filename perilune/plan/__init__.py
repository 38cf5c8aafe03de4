"""The planning workshop: what a machine can do with a model, before anything is bought or downloaded."""
