"""`perilune demo`: the first minute. Real questions, answered by the bundled model here, and how to go on."""

from __future__ import annotations

from rich.console import Console

from perilune.cli import options as opt

QUESTIONS = ("Who are you?", "Tell me a story about a bear.")
NEXT_STEPS = """
Go on with (after `source .venv/bin/activate`)
  perilune chat                      a conversation (Ctrl-D leaves)
  perilune chat "your question"      one answer; --json for programs
  perilune show perilune/models/nano what the model is made of
  perilune --help                    every verb"""


def demo(model: opt.ModelOption = "nano", max_tokens: opt.MaxTokensOption = 200) -> None:
    """Ask the bundled model two questions and show how fast it answers."""
    from perilune.cli.session import Session

    console = Console(highlight=False)
    with console.status("opening the model (the first time, its kernels are compiled for this processor)"):
        opened = opt.open_model(model)
        opened.generate([0], max_tokens=2)
    session = Session(opened, {"max_tokens": max_tokens, "temperature": 0.0}, console=console)
    for question in QUESTIONS:
        console.print(f"\n> {question}", style="bold", markup=False)
        session.ask(question)
    console.print(NEXT_STEPS, markup=False)
