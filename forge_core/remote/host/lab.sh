#!/usr/bin/env bash
# JupyterLab on a rented host: on 127.0.0.1 alone, with a token that is never an argument. Prints its port and token.
#   bash forge_core/remote/host/lab.sh
set -euo pipefail
cd "$(dirname "$0")/../../.."
state="$PWD/.forge"
export JUPYTER_RUNTIME_DIR="$state/jupyter"
servers() { .venv/bin/python -m jupyter_server list --json 2> /dev/null | head -n 1; }

if [ -z "$(servers)" ]; then
    tmux -S "$state/tmux" new-session -d -s lab \
        "umask 077; JUPYTER_RUNTIME_DIR='$JUPYTER_RUNTIME_DIR' .venv/bin/python -m jupyterlab --ip 127.0.0.1 --port 8888 \
        --no-browser --allow-root --notebook-dir . > '$state/lab.log' 2>&1"
    for _ in $(seq 60); do
        [ -n "$(servers)" ] && break
        sleep 1
    done
fi
servers | python3 -c 'import json, sys; lab = json.loads(sys.stdin.read() or "{}"); print(lab["port"], lab["token"])' ||
    { tail -n 5 "$state/lab.log" >&2; exit 1; }
