"""`python -m perilune`, the same as the `perilune` command."""

from perilune.cli import main

main()
