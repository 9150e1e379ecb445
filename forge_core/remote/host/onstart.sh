#!/bin/bash
# Sent with the rental (Vast's onstart, at most 4048 characters): runs at every start of the container.
# `forge vast up` puts FORGE_FOLDER, FORGE_DEADLINE (s since 1970) and FORGE_SECONDS before it, guard.py below it.
export FORGE_FOLDER FORGE_DEADLINE FORGE_SECONDS PATH="$PATH:/opt/conda/bin"
mkdir -p "$FORGE_FOLDER/.forge"
nohup python3 - >> "$FORGE_FOLDER/.forge/guard.log" 2>&1 <<'GUARD' &
