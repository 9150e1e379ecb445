#!/bin/bash
# Sent with the rental (Vast's onstart, at most 4048 characters): runs at every start of the container, with nobody there.
# `forge vast up` puts FORGE_FOLDER and FORGE_DEADLINE (s since 1970) before it.
# The guard stops the instance, by the key that Vast gives to each instance for itself alone: at the deadline, or
# 30 minutes after the course ended where nobody asked for anything since. The disk, and what is on it, stays.
state="$FORGE_FOLDER/.forge"
mkdir -p "$state"
touch "$state/contact" # somebody started it: the half hour begins
now() { date +%s; }
[ -s "$state/deadline" ] || echo "$FORGE_DEADLINE" > "$state/deadline"
if [ "$(now)" -ge "$(cat "$state/deadline")" ]; then
    echo "$(($(now) + 1200))" > "$state/deadline" # started again to fetch what is here: 20 minutes
    late=1
fi

age() { [ -e "$1" ] && echo $(($(now) - $(date -r "$1" +%s))) || echo 0; }
due() {
    [ "$(now)" -ge "$(cat "$state/deadline")" ] && return 0
    [ "$(age "$state/status")" -ge "${FORGE_IDLE:-1800}" ] && [ "$(age "$state/contact")" -ge "${FORGE_IDLE:-1800}" ]
}
stop() {
    python3 - <<'END'
import json, os, urllib.request
url = os.environ.get("VAST_URL", "https://console.vast.ai") + f"/api/v0/instances/{os.environ['CONTAINER_ID']}/"
headers = {"Authorization": f"Bearer {os.environ['CONTAINER_API_KEY']}", "Content-Type": "application/json"}
request = urllib.request.Request(url, json.dumps({"state": "stopped"}).encode(), headers, method="PUT")
print(urllib.request.urlopen(request, timeout=30).read().decode())
END
}
guard() {
    until due; do sleep "${FORGE_GUARD_SECONDS:-20}"; done
    echo "$(date -u +%FT%TZ) guard: stopping the instance"
    job="$FORGE_FOLDER/forge_core/remote/host/job.sh"
    [ -f "$job" ] && bash "$job" stop # saves a checkpoint
    until stop; do sleep "${FORGE_GUARD_SECONDS:-20}"; done
}
guard >> "$state/guard.log" 2>&1 &
echo $! > "$state/guard.pid"
disown

if [ -z "$late" ] && [ -f "$state/job" ] && [ ! -f "$state/status" ]; then
    bash "$FORGE_FOLDER/forge_core/remote/host/job.sh" resume >> "$state/guard.log" 2>&1
fi
