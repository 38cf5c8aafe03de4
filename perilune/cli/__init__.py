"""The `perilune` command: verbs only; each calls one function of a room."""

from perilune.cli.app import app, main

__all__ = ["app", "main"]
