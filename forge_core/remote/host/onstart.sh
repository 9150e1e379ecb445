#!/bin/bash
# Sent with the rental (Vast's onstart, at most 4048 characters): runs at every start of the container.
# `forge vast up` puts FORGE_FOLDER, FORGE_DEADLINE (s since 1970) and FORGE_SECONDS before it, guard.py below it.
export FORGE_FOLDER FORGE_DEADLINE FORGE_SECONDS PATH="$PATH:/opt/conda/bin"
log="$FORGE_FOLDER/.forge/guard.log"
mkdir -p "${log%/*}" 2> /dev/null
true 2> /dev/null >> "$log" || log=/dev/null # whatever is there, the guard starts
nohup python3 - >> "$log" 2>&1 <<'GUARD' &
