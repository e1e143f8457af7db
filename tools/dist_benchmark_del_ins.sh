#!/usr/bin/env bash
# Several processes of one machine, or of several, share the images.
# Usage: tools/dist_benchmark_del_ins.sh CONFIG CHECKPOINT PROCESSES [options]

"$(dirname "$0")/dist_tool.sh" benchmark_del_ins "$@"
