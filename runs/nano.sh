#!/usr/bin/env bash
# How nano is made, from the sources to the scored model. Read it top to bottom; run it again to go on where it stopped.
#
#   PERILUNE_SHARED=/path/to/shared runs/nano.sh [folder for the work, default ./nano-work]
#
# PERILUNE_SHARED names the folder whose data/ holds the licensed sources. Two cores take about an hour.
set -euo pipefail
cd "$(dirname "$0")/.."
: "${PERILUNE_SHARED:?names the folder that holds data/ with the licensed sources}"
work=${1:-nano-work}
mkdir -p "$work"

# Each training thread multiplies alone; more threads inside a product only wait for one another. Large arrays come and
# go with every step: asking the system for each of them anew, or giving each thread a heap of its own, costs a third.
export OMP_NUM_THREADS=1 MALLOC_ARENA_MAX=1 MALLOC_MMAP_MAX_=0
export MALLOC_TRIM_THRESHOLD_=8000000000 MALLOC_TOP_PAD_=500000000

# 1. The sixth edition lent its vocabulary and what fits of its weights. How it was made itself, from the fifth one,
#    stands in runs/nano.sh of the same commit, and so on back to the first.
sixth=71d7aed:perilune/models/nano
mkdir -p "$work/sixth"
for file in config.json model.safetensors tiktoken.model tokenizer_config.json; do
    git show "$sixth/$file" > "$work/sixth/$file"
done

# 2. The mixture, packed into rows of 1,024 tokens with that vocabulary.
perilune train prepare --out "$work/data" --tokenizer "$work/sixth" --scale 0.6

# 3. Packed rows teach all layers; questions about short documents teach what stands above the layers that read: the
#    memory, its selector, the second look, the readers and the copy head. The routed experts are on the INT4 grid for
#    the last 30 % of the steps. Ctrl-C saves. Progress is in metrics.jsonl and samples.jsonl of the run.
perilune train run --data "$work/data" --tokenizer "$work/sixth" --out "$work/run" --steps 950 --rows 4 --lr 0.0025 \
    --seed 127 --start "$work/sixth" --set warmup=12 --set decay_share=0.8 --set qat_from=0.7 --set bias_rate=0.001 \
    --set ask_tokens=3072 --set ask_questions=64 --set ask_bank=256 --set ask_chunks=12 --set ask_lower=False \
    --set select_weight=0.3

# 4. The published layout: INT4 experts, tokenizer, manifest of the sources, model card.
perilune train export --run "$work/run" --out "$work/nano"

# 5. Held-out loss per byte, exact answers per task, and what it finds in long texts; then a question.
perilune score --model "$work/nano"
perilune score needle --model "$work/nano" --lengths 4k,32k,128k --count 50
perilune chat --model "$work/nano" "Tell me a story about a bear."
