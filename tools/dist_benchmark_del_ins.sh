#!/usr/bin/env bash
# Several processes of one machine, or of several, share the images.
# Usage: tools/dist_benchmark_del_ins.sh CONFIG CHECKPOINT PROCESSES [options]

CONFIG=$1
CHECKPOINT=$2
PROCESSES=$3
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
    "$(dirname "$0")/benchmark_del_ins.py" "$CONFIG" "$CHECKPOINT" \
    --launcher pytorch "${@:4}"
