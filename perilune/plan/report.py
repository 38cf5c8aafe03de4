"""A plan as people and programs read it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from perilune.api.sense_room import SenseRoom
from perilune.plan.machine import Machine
from perilune.plan.needs import Needs
from perilune.plan.predict import Prediction, advice, best


@dataclass(frozen=True)
class Plan:
    model: str
    needs: Needs
    machine: Machine
    here: Prediction
    next_step: str
    next_gain: float
    others: list[Prediction]

    def to_dict(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "needs": {
                **asdict(self.needs),
                "total": self.needs.total,
                "experts_a_token": self.needs.experts_a_token,
                "senses": {**asdict(self.needs.senses), "total": self.needs.senses.total},
            },
            "machine": asdict(self.machine),
            "prediction": _row(self.here),
            "buy_next": {"what": self.next_step, "times_faster": round(self.next_gain, 2)},
            "other_machines": [_row(other) for other in self.others],
        }

    def to_text(self) -> Group:
        n, m, p = self.needs, self.machine, self.here
        lines = [
            f"{self.model}: {_gb(n.total)} in all; a token reads {_gb(n.backbone)} that every token uses"
            + (f" and {_gb(n.experts_a_token)} of experts" if n.experts else ""),
            *_senses(n.senses),
            f"{m.name}: {_gb(m.ram)} memory, {_gb(m.memory_rate)}/s from it, INT4 experts {_gb(m.expert_rate)}/s, "
            f"disk {_gb(m.reading)}/s",
        ]
        if p.runs:
            lines += [
                *(
                    [f"its backbone must be kept as {p.kept_as} here: --backbone {p.kept_as}"]
                    if p.kept_as != "bf16"
                    else []
                ),
                *([f"the GPU: {_on_gpu(p)}"] if m.gpu_ram else []),
                f"decode: {p.decode_rate:.2f} tokens/s, bound by {p.bound}: {_gb(p.bytes_read)} from disk "
                f"({p.disk_seconds:.2f} s), every-token weights {p.backbone_seconds:.2f} s, experts "
                f"{p.expert_seconds:.2f} s",
                f"cache: {p.cache_share:.0%} of the experts, {p.hit_rate:.0%} of their uses",
                f"prompts: {p.prefill_rate:.1f} tokens/s; the first token of a reply to 1,000 tokens after "
                f"{p.first_token:.0f} s",
                f"buy next: {self.next_step} ({self.next_gain:.1f} times as fast)",
            ]
        else:
            lines.append(f"it cannot run here: {_gb(p.short)} of memory are missing")
        table = Table("machine", "weights", "tokens/s", "bound by", "cache", "GB/token", "prompt/s", title="Elsewhere")
        for other in self.others:
            if other.runs:
                shown = (other.bound, f"{other.cache_share:.0%}", f"{other.bytes_read / 1e9:.1f}")
                rates = f"{other.decode_rate:.2f}", f"{other.prefill_rate:.0f}"
                table.add_row(other.machine, other.kept_as, rates[0], *shown, rates[1])
            else:
                table.add_row(other.machine, "–", "–", f"{_gb(other.short)} missing", "", "", "")
        return Group(*map(Text, lines), Text(), table)


def make_plan(model: str, kinds: Sequence[Needs], machine: Machine, others: list[Machine], even: bool = False) -> Plan:
    """`kinds`: what the model needs with each backbone that may be chosen, the most exact first."""
    needs, here = best(kinds, machine, even=even)
    what, gain = advice(needs, machine)
    return Plan(model, needs, machine, here, what, gain, [best(kinds, other)[1] for other in others])


def _senses(room: SenseRoom) -> list[str]:
    if not room.weights:
        return []
    towers = f"{_gb(sum(room.weights.values()))} weights"
    return [f"to {room.verb}: {_gb(room.total)} of memory ({towers}), set aside unless --text-only"]


def _on_gpu(p: Prediction) -> str:
    if p.on_gpu:
        return "what every token uses lies there, with conversations and experts in what is left: --gpu"
    return "not used, since what every token uses does not fit there as published"


def _row(p: Prediction) -> dict[str, Any]:
    return {**asdict(p), "seconds_a_token": p.seconds, "tokens_per_second": p.decode_rate, "bound": p.bound}


def _gb(size: float) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"
