#!/usr/bin/env bash
# How nano is made, from the sources to the scored model. Read it top to bottom; run it again to go on where it stopped.
#
#   PERILUNE_SHARED=/path/to/shared runs/nano.sh [folder for the work, default ./nano-work]
#
# PERILUNE_SHARED names the folder whose data/ holds the licensed sources. Two cores take about an hour and a half.
set -euo pipefail
cd "$(dirname "$0")/.."
: "${PERILUNE_SHARED:?names the folder that holds data/ with the licensed sources}"
work=${1:-nano-work}
mkdir -p "$work"

# Each training thread multiplies alone; more threads inside a product only wait for one another. Large arrays come and
# go with every step: asking the system for each of them anew would take half of the time.
export OMP_NUM_THREADS=1 MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=8000000000

# 1. The first edition (latent attention in every layer, 1,600 steps) lent its vocabulary and what fits of its weights.
first=b869b7f:perilune/models/nano
mkdir -p "$work/first"
for file in config.json model.safetensors tiktoken.model tokenizer_config.json; do
    git show "$first/$file" > "$work/first/$file"
done

# 2. The mixture, packed into rows of 1,024 tokens with that vocabulary.
perilune train prepare --out "$work/data" --tokenizer "$work/first" --scale 0.4

# 3. New lower layers learn to read, on text and on short documents with questions; the whole model follows.
#    Ctrl-C saves. Progress is in metrics.jsonl and samples.jsonl of each run.
perilune train run --data "$work/data" --tokenizer "$work/first" --out "$work/change" --steps 260 --rows 4 --lr 0.005 \
    --start "$work/first" --set warmup=30 --set decay_share=0 --set qat_from=1 --set bias_rate=0.002 \
    --set ask_tokens=2048 --set ask_questions=16 --set ask_bank=0 --set select_weight=0.3
perilune train export --run "$work/change" --out "$work/changed"

# 4. More questions, more kinds of them, and chunks of earlier steps as distractors; the routed experts on the INT4 grid
#    for the last 40 % of the steps.
perilune train run --data "$work/data" --tokenizer "$work/first" --out "$work/run" --steps 480 --rows 2 --lr 0.004 \
    --seed 2 --start "$work/changed" --set warmup=20 --set decay_share=0.35 --set qat_from=0.6 --set bias_rate=0.001 \
    --set ask_tokens=4096 --set ask_questions=32 --set ask_bank=256 --set select_weight=0.5

# 5. The published layout: INT4 experts, tokenizer, manifest of the sources, model card.
perilune train export --run "$work/run" --out "$work/nano"

# 6. Held-out loss per byte, exact answers per task, and what it finds in long texts; then a question.
perilune score --model "$work/nano"
perilune score needle --model "$work/nano" --lengths 4k,32k,128k --count 50
perilune chat --model "$work/nano" "Tell me a story about a bear."
