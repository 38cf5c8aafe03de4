"""`perilune plan`: what a machine can do with a model, before anything is bought or downloaded."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from perilune.cli import options as opt
from perilune.presets import PRESETS


def plan(
    model: Annotated[
        str, typer.Option("--model", "-m", help=f"A model directory, or a shape ({', '.join(PRESETS)}).")
    ] = "k2.6",
    ram: Annotated[str | None, typer.Option("--ram", help='Memory to plan with, such as "64GiB".')] = None,
    disk_speed: Annotated[
        str | None, typer.Option("--disk-speed", help='What the disk reads in a second, such as "7GB".')
    ] = None,
    gpu: Annotated[str | None, typer.Option("--gpu", help='Memory of a GPU to plan with, such as "24GB".')] = None,
    disk: Annotated[
        Path | None, typer.Option("--disk", help="A directory on the disk to measure, if not the model's.")
    ] = None,
    backbone: Annotated[
        str | None, typer.Option("--backbone", help="bf16, int8 or int4; without it the most exact one that fits.")
    ] = None,
    text_only: opt.TextOnlyOption = False,
    even: Annotated[
        bool, typer.Option("--even", help="Experts are chosen evenly, as models of random weights do.")
    ] = False,
    json: opt.JsonOption = False,
) -> None:
    """Measure this machine and tell how fast a model will be here and elsewhere, and why."""
    from perilune.api.locate import find_model, parse_bytes
    from perilune.cli.output import print_json
    from perilune.config import ModelConfig
    from perilune.errors import RequestError
    from perilune.media.settings import MediaConfig
    from perilune.model.quantised import BACKBONES
    from perilune.plan.machine import COMMON_GPU_RATE, common_machines, measure_machine
    from perilune.plan.needs import needs_of
    from perilune.plan.report import make_plan
    from perilune.presets import preset

    if backbone is not None and backbone not in BACKBONES:
        raise RequestError(f"--backbone takes {', '.join(BACKBONES)}; got {backbone[:20]!r}")
    directory = None if model in PRESETS else find_model(model)
    config = ModelConfig.load(directory) if directory else preset(model)
    limits = MediaConfig.of(directory)
    kinds = [needs_of(config, name, limits, text_only) for name in ((backbone,) if backbone else BACKBONES)]
    sizes = [None if size is None else parse_bytes(size) for size in (ram, disk_speed, gpu)]
    console = Console(stderr=True)
    with console.status("measuring memory, kernels and disk"):
        machine = measure_machine(disk or directory or Path.cwd(), sizes[0], sizes[1])
    if sizes[2]:
        machine = replace(machine, gpu_ram=sizes[2], gpu_rate=COMMON_GPU_RATE)
    made = make_plan(model, kinds, machine, common_machines(), even)
    if json:
        print_json(made.to_dict())
    else:
        Console(highlight=False).print(made.to_text())
