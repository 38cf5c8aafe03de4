"""Builds a prompt out of special tokens and plain text, keeping the two apart to the end."""

from dataclasses import dataclass, field

from perilune.text.tokenizer import Tokenizer


@dataclass
class Run:
    """One special token, or a stretch of text; adjacent text is one run and is encoded as one string."""

    pieces: list[str]
    special: bool
    trained: bool

    @property
    def text(self) -> str:
        return "".join(self.pieces)


@dataclass
class PromptBuilder:
    runs: list[Run] = field(default_factory=list)

    def special(self, *names: str, trained: bool = False) -> None:
        self.runs += [Run([name], True, trained) for name in names]

    def text(self, text: str, trained: bool = False) -> None:
        if not text:
            return
        if self.runs and not self.runs[-1].special:
            # The run keeps its first flag: bodies lie between special tokens, so only the text around
            # media inside an assistant message can mix the two.
            self.runs[-1].pieces.append(text)
        else:
            self.runs.append(Run([text], False, trained))

    def build(self, tokenizer: Tokenizer) -> tuple[str, list[int], list[bool]]:
        """The whole text, its ids, and for each id whether it is trained on."""
        ids: list[int] = []
        mask: list[bool] = []
        texts = [run.text for run in self.runs]
        for run, text in zip(self.runs, texts, strict=True):
            run_ids = [tokenizer.special_id(text)] if run.special else tokenizer.encode(text)
            ids += run_ids
            mask += [run.trained] * len(run_ids)
        return "".join(texts), ids, mask
