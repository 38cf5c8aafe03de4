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

# 1. The eighth edition lent its vocabulary and its weights. How it was made itself, from the seventh one, stands in
#    runs/nano.sh of the same commit, and so on back to the first.
eighth=1141e81:perilune/models/nano
mkdir -p "$work/eighth"
for file in config.json model.safetensors tiktoken.model tokenizer_config.json; do
    git show "$eighth/$file" > "$work/eighth/$file"
done

# 2. The mixture, packed into rows of 1,024 tokens with that vocabulary.
perilune train prepare --out "$work/data" --tokenizer "$work/eighth" --scale 0.6

# 3. The towers alone: what they make of a picture or a sound should lie near the words that name it. espeak-ng speaks, and
#    flite where it is installed. Ctrl-C saves. Progress is in metrics.jsonl of the run.
perilune train run --data "$work/data" --tokenizer "$work/eighth" --out "$work/naming" --model nano-senses --steps 10000 \
    --lr 0.0025 --seed 211 --start "$work/eighth" --set rows=0 --set learn=senses --set naming=True --set bfloat16=True \
    --set workers=2 --set warmup=30 --set decay_share=0.7 --set qat_from=1 --set shown=32 --set speech="$work/speech" \
    --set families=digit:2.5,clothing:4,spoken_digit:3,speech_digit:1.5,command_word:3,speech_word:2.5,coffee_order:0.6,\
everyday_sound:1,pictograph:1,grocery:0.5,waste:0.3,read_word:0.2
perilune train export --run "$work/naming" --out "$work/named"

# 4. Towers and the three layers that answer, on all that can be seen and heard; text and questions beside it, so that they
#    stay as they were. The layers that read, the second look and the copy head do not learn: what was found is still found.
@JOINT@
# 5. The published layout: INT4 experts, tokenizer, manifest of the sources, model card.
perilune train export --run "$work/joint" --out "$work/nano"

# 6. Held-out loss per byte, exact answers per task, what it finds in long texts, what it sees and hears; then a question.
perilune score --model "$work/nano"
perilune score needle --model "$work/nano" --lengths 4k,32k,128k --count 50
perilune score senses --model "$work/nano" --count 100
perilune chat --model "$work/nano" "Tell me a story about a bear."
