"""Weights on disk: checked reading, streaming writing, published names, the INT4 grid."""
