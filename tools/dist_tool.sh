#!/usr/bin/env bash
# Several processes of one machine, or of several, share the images of a tool.
# Usage: tools/dist_tool.sh TOOL CONFIG CHECKPOINT PROCESSES [options]

TOOL=$1
CONFIG=$2
CHECKPOINT=$3
PROCESSES=$4
NNODES=${NNODES:-1}
NODE_RANK=${NODE_RANK:-0}
PORT=${PORT:-29500}
MASTER_ADDR=${MASTER_ADDR:-"127.0.0.1"}

python -m torch.distributed.run \
    --nnodes="$NNODES" \
    --node_rank="$NODE_RANK" \
    --master_addr="$MASTER_ADDR" \
    --master_port="$PORT" \
    --nproc_per_node="$PROCESSES" \
    "$(dirname "$0")/$TOOL.py" "$CONFIG" "$CHECKPOINT" \
    --launcher pytorch "${@:5}"
