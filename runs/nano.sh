#!/usr/bin/env bash
# How nano is made, from the sources to the scored model. Read it top to bottom; run it again to go on where it stopped.
#
#   PERILUNE_SHARED=/path/to/shared runs/nano.sh [folder for the work, default ./nano-work]
#
# PERILUNE_SHARED names the folder whose data/ holds the licensed sources. Two cores take about three hours.
set -euo pipefail
cd "$(dirname "$0")/.."
: "${PERILUNE_SHARED:?names the folder that holds data/ with the licensed sources}"
work=${1:-nano-work}
mkdir -p "$work"

# Each training thread multiplies alone; more threads inside a product only wait for one another. Large arrays come and
# go with every step: asking the system for each of them anew, or giving each thread a heap of its own, costs a third.
export OMP_NUM_THREADS=1 MALLOC_ARENA_MAX=1 MALLOC_MMAP_MAX_=0
export MALLOC_TRIM_THRESHOLD_=8000000000 MALLOC_TOP_PAD_=500000000

# 1. The seventh edition lent its vocabulary and what fits of its weights. How it was made itself, from the sixth one,
#    stands in runs/nano.sh of the same commit, and so on back to the first.
seventh=5b1f859:perilune/models/nano
mkdir -p "$work/seventh"
for file in config.json model.safetensors tiktoken.model tokenizer_config.json; do
    git show "$seventh/$file" > "$work/seventh/$file"
done

# 2. The mixture, packed into rows of 1,024 tokens with that vocabulary.
perilune train prepare --out "$work/data" --tokenizer "$work/seventh" --scale 0.6

# 3. The second look alone, whose layer is new: questions about short documents teach it where what answers begins and
#    ends, on experts that are on the INT4 grid already. Ctrl-C saves. Progress is in metrics.jsonl of the run.
perilune train run --data "$work/data" --tokenizer "$work/seventh" --out "$work/look" --steps 2000 --lr 0.003 \
    --seed 131 --start "$work/seventh" --set learn=second_look --set rows=0 --set warmup=20 --set decay_share=0.9 \
    --set qat_from=0 --set ask_tokens=3072 --set ask_questions=64 --set ask_bank=256 --set ask_chunks=8 \
    --set ask_lower=True --set select_weight=1.0
perilune train export --run "$work/look" --out "$work/looked"

# 4. All layers: packed rows teach them text; the questions teach what stands above the layers that read, until readers
#    and copy head go by what the second look has learned.
perilune train run --data "$work/data" --tokenizer "$work/looked" --out "$work/run" --steps 700 --rows 4 --lr 0.002 \
    --seed 137 --start "$work/looked" --set warmup=12 --set decay_share=0.9 --set qat_from=0.7 --set bias_rate=0.001 \
    --set ask_tokens=3072 --set ask_questions=64 --set ask_bank=256 --set ask_chunks=12 --set ask_lower=True \
    --set select_weight=0.5

# 5. The second look alone once more, by now on sentences whose answers end where the question says more. (The edition as
#    shipped ran 3 and 4 with the sentences of commit 9eda166, and 3 to 5 with sentences in a third of the documents.)
perilune train export --run "$work/run" --out "$work/answering"
perilune train run --data "$work/data" --tokenizer "$work/answering" --out "$work/ends" --steps 850 --lr 0.002 \
    --seed 139 --start "$work/answering" --set learn=second_look --set rows=0 --set warmup=20 --set decay_share=0.9 \
    --set qat_from=0 --set ask_tokens=3072 --set ask_questions=64 --set ask_bank=256 --set ask_chunks=8 \
    --set ask_lower=True --set select_weight=1.0
perilune train export --run "$work/ends" --out "$work/ended"

# 6. What the copy head makes of the second look learns with it for a while: without that, lists stopped one value early.
perilune train run --data "$work/data" --tokenizer "$work/ended" --out "$work/lists" --steps 300 --lr 0.0015 \
    --seed 149 --start "$work/ended" --set rows=0 --set warmup=20 --set decay_share=0.9 --set qat_from=0 \
    --set learn=second_look,copy_head.left_proj,copy_head.span_proj,copy_head.follow,copy_head.told_bias \
    --set ask_tokens=3072 --set ask_questions=64 --set ask_bank=256 --set ask_chunks=10 --set ask_lower=True \
    --set select_weight=0.5

# 7. The published layout: INT4 experts, tokenizer, manifest of the sources, model card.
perilune train export --run "$work/lists" --out "$work/nano"

# 8. Held-out loss per byte, exact answers per task, and what it finds in long texts; then a question.
perilune score --model "$work/nano"
perilune score needle --model "$work/nano" --lengths 4k,32k,128k --count 50
perilune chat --model "$work/nano" "Tell me a story about a bear."
