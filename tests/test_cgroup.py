"""A budget in a real cgroup: a model larger than the limit answers as it does without one, and is not killed."""

import contextlib
import json
import subprocess
import sys
import uuid
from dataclasses import replace
from pathlib import Path

import pytest

from perilune import load
from perilune.presets import preset
from perilune.synth import synthesize

LIMIT = 800 << 20
ROOTS = ((Path("/sys/fs/cgroup"), "memory.max"), (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"))
WORK = """
import json, sys
from pathlib import Path
Path(sys.argv[2], "cgroup.procs").write_text("0")
from perilune import load
from perilune.api.free_memory import peak_memory
model = load(sys.argv[1], ram="auto")
ids = list(model.generate(range(60), max_tokens=8, temperature=0).ids)
print(json.dumps({"ids": ids, "budget": model.memory.budget, "peak": peak_memory(), "streamed": model.memory.streamed}))
"""


@pytest.fixture
def cgroup():
    """The folder of a cgroup with the limit; skips where none can be made."""
    for root, name in ROOTS:
        folder = root / f"perilune-test-{uuid.uuid4().hex[:8]}"
        try:
            folder.mkdir()
        except OSError:
            continue
        try:
            if (folder / name).exists():
                (folder / name).write_text(str(LIMIT))
                yield folder
                return
        except OSError:
            continue
        finally:
            with contextlib.suppress(OSError):
                folder.rmdir()
    pytest.skip("no cgroup with a memory limit can be made here; it takes root and a controller for memory")


def test_a_model_larger_than_its_cgroup_answers_within_it(cgroup, tmp_path):
    config = replace(preset("tiny"), hidden_size=512, moe_intermediate_size=8192, n_routed_experts=72)
    directory = tmp_path / "m"
    synthesize(config, directory)
    size = sum(path.stat().st_size for path in directory.glob("*.safetensors"))
    assert size > LIMIT
    made = subprocess.run(
        [sys.executable, "-c", WORK, str(directory), str(cgroup)], capture_output=True, text=True, timeout=300
    )
    assert made.returncode == 0, made.stderr[-2000:]
    told = json.loads(made.stdout)
    assert told["streamed"] and told["budget"] < LIMIT and told["peak"] <= told["budget"]
    assert told["ids"] == list(load(directory).generate(range(60), max_tokens=8, temperature=0).ids)
