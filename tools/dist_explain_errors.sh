#!/usr/bin/env bash
# Several processes of one machine, or of several, share the images.
# Usage: tools/dist_explain_errors.sh CONFIG CHECKPOINT PROCESSES [options]

"$(dirname "$0")/dist_tool.sh" explain_errors "$@"
