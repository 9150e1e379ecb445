#!/usr/bin/env bash
# Brings files back from a rented machine: searched for secrets, checked against SHA-256, and then moved in place.
#
#   ./sync_from_vast.sh [-F ssh_config] [-p PORT] [-i KEY] [--] [user@]HOST [PATH...]
#   ./sync_from_vast.sh -p 41234 root@1.2.3.4 -L 8080:localhost:8080 runs/vast-16gb checkpoints/vast-16gb
#
# The ssh arguments are those that the Vast.ai page shows; -L is ignored. Without a PATH: runs and checkpoints; besides
# them data alone may be named, as nothing that comes from a host may replace the project's code.
# The folder on the host is FORGE_REMOTE_DIR, /workspace/churninator-forge where that is not set.
# A file of yours that another one replaces is kept in .vast/replaced, unless the new one only goes on where it ends.
# Nothing is deleted. Symlinks are not copied, nor what programs here would obey or import by themselves: hidden files,
# Python modules, libraries, makefiles, configuration of Jupyter, Matplotlib and W&B. .vast/pulled.sha256 lists what
# came: sha256sum -c .vast/pulled.sha256
#
# Exit status: 0 all came; 1 the host lacks python3 or rsync; 2 wrong use, or none of the PATHs is there;
# 3 all came but files with secrets, which are named; 4 files that change while they are copied, names that cannot be
# copied, or a folder of yours in the way: nothing was moved; 5 no connection, or it broke: nothing was moved, the same
# command continues; 6 the host key is not that of the first contact.

set -euo pipefail
called_from=$PWD
root=$(cd "$(dirname "$0")" && pwd)
cd "$root"
. forge_core/remote/sync.sh

# A Python program of ours, sent over standard input, over the paths that are there.
over_paths() {
    local path there="cd $REMOTE_DIR && set -- && for path in" status=0
    for path in "${PATHS[@]}"; do there="$there '$path'"; done
    there="$there; do ! [ -e \"\$path\" ] || set -- \"\$@\" \"\$path\"; done && { [ \$# -gt 0 ] || exit 9; }"
    on_host "$there && exec python3 -I - $2 \"\$@\"" < "forge_core/remote/$1" || status=$?
    case $status in
    8) die 4 "nothing was moved" ;;
    9) die 2 "none of these is on the host, in $REMOTE_DIR: ${PATHS[*]}" ;;
    esac
    return $status
}

staging() {
    python3 -I forge_core/remote/staging.py "$@"
}

# One attempt: list, search, copy, compare. Returns 1 where a file is not what the list says.
fetch() {
    local status=0
    over_paths staging.py manifest > "$work/listed" || die 1 "the files on the host could not be listed"
    over_paths leaks.py --names > "$work/leaks" || [ $? -eq 1 ] || die 1 "the files on the host could not be searched"
    staging plan "${PATHS[@]}" || die 1 "nothing was moved"
    rsync_over_ssh "$1" --files-from="$work/wanted" --from0 --partial-dir=.rsync-partial --link-dest="$root" \
        -- "$HOST:$REMOTE_DIR/" .vast/incoming/ || status=$?
    case $status in
    127) die 1 "the host has no rsync: apt-get install rsync" ;;
    0 | 23 | 24) ;; # 23, 24: some files could not be read, or have gone, which the comparison shows
    *) die 5 "the copy broke off: nothing was moved. The same command again continues." ;;
    esac
    staging verify > "$work/differing"
}

arguments "$@"
[ ${#PATHS[@]} -gt 0 ] || PATHS=(runs checkpoints)
staging check "${PATHS[@]}" || die 2 "nothing was fetched"
begin pull
mkdir -p .vast/incoming
fetch -t || fetch -tc || fetch -tc || {
    cat "$work/differing"
    die 4 "these files changed during each of three copies: nothing was moved"
}
(cd .vast/incoming && python3 -I ../../forge_core/remote/leaks.py --names -0) < "$work/wanted" >> "$work/leaks" || [ $? -eq 1 ]
staging plan "${PATHS[@]}"
staging move
