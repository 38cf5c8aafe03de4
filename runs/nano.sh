#!/usr/bin/env bash
# How nano is made, from the sources to the scored model. Read it top to bottom; run it again to go on where it stopped.
#
#   PERILUNE_SHARED=/path/to/shared runs/nano.sh [folder for the work, default ./nano-work]
#
# PERILUNE_SHARED names the folder whose data/ holds the licensed sources. Two cores take about two hours.
set -euo pipefail
cd "$(dirname "$0")/.."
: "${PERILUNE_SHARED:?names the folder that holds data/ with the licensed sources}"
work=${1:-nano-work}
mkdir -p "$work"

# Each training thread multiplies alone; more threads inside a product only wait for one another.
export OMP_NUM_THREADS=1

# 1. A vocabulary of 7,936 ranks and 256 special tokens, then the mixture, packed into rows of 1,024 tokens.
perilune train prepare --out "$work/data" --tokenizer "$work/tokenizer"

# 2. Training: 18 M weights, Muon, the routed experts on the INT4 grid for the last 30 % of the steps.
#    Ctrl-C saves. Progress is in $work/run/metrics.jsonl and samples.jsonl.
perilune train run --data "$work/data" --tokenizer "$work/tokenizer" --out "$work/run" \
    --steps 1600 --rows 4 --lr 0.01 --set warmup=40 --set bias_rate=0.002

# 3. The published layout: INT4 experts, tokenizer, manifest of the sources, model card.
perilune train export --run "$work/run" --out "$work/nano"

# 4. Held-out loss per byte and exact answers per task, then a question.
perilune score --model "$work/nano"
perilune chat --model "$work/nano" "Tell me a story about a bear."
