#!/usr/bin/env bash
# The course on a rented host, in a tmux session that outlives connections.
#   job.sh start PROFILE   begin, or say that it runs
#   job.sh resume          go on with what was broken off
#   job.sh stop            save a checkpoint and end; resume continues
# .forge/ has job (the profile), status (exit status, once ended), job.log, tmux (the socket).
set -euo pipefail
cd "$(dirname "$0")/../../.."
state="$PWD/.forge"
keys="${FORGE_KEYS_FILE:-$HOME/.config/churninator-forge/keys.env}"
mkdir -p "$state"
tmux_() { tmux -S "$state/tmux" "$@"; }
running() { tmux_ has-session -t course 2> /dev/null; }

case "$1" in
start)
    if running; then
        echo "the course runs already ($(cat "$state/job"))"
        exit 0
    fi
    rm -f "$state/status"
    echo "$2" > "$state/job"
    touch "$state/contact"
    tmux_ new-session -d -s course "bash forge_core/remote/host/job.sh work"
    echo "the course has started (profile $2)"
    ;;
resume)
    running || tmux_ new-session -d -s course "bash forge_core/remote/host/job.sh work"
    ;;
stop)
    running || exit 0 # it has ended, or was killed: what is said of that stays
    # the kernels are children of `forge run`; training answers SIGTERM with a checkpoint
    [ -f "$state/pid" ] && pkill -TERM -P "$(cat "$state/pid")" || true
    for _ in $(seq 90); do
        running || break
        sleep 2
    done
    tmux_ kill-session -t course 2> /dev/null || true
    rm -f "$state/status" # broken off, not ended
    ;;
work)
    if [ -f "$keys" ]; then
        set -a
        . "$keys"
        set +a
    fi
    export PATH="$PATH:/opt/conda/bin" PYTHONUNBUFFERED=1
    {
        echo "$(date -u +%FT%TZ) forge run $(cat "$state/job")"
        .venv/bin/forge run "$(cat "$state/job")" &
        echo $! > "$state/pid"
        wait $! && ended=0 || ended=$?
        echo "$(date -u +%FT%TZ) ended with status $ended"
        echo "$ended" > "$state/status.new"
        mv "$state/status.new" "$state/status"
    } 2>&1 | tee -a "$state/job.log"
    ;;
*)
    echo "job.sh: start PROFILE, resume or stop, not '$1'" >&2
    exit 2
    ;;
esac
