#!/usr/bin/env bash
# Sends the project to a rented machine: what git does not ignore, without keys, and nothing is deleted there.
#
#   ./sync_to_vast.sh [-F ssh_config] [-p PORT] [-i KEY] [--] [user@]HOST [PATH...]
#   ./sync_to_vast.sh -p 41234 root@1.2.3.4 -L 8080:localhost:8080 checkpoints/vast-16gb
#
# The ssh arguments are those that the Vast.ai page shows; -L is ignored. PATHs are folders that git ignores, to go too.
# The folder on the host is FORGE_REMOTE_DIR, /workspace/churninator-forge where that is not set.
#
# Exit status: 0 sent; 1 the host lacks rsync or room; 2 wrong use; 3 a secret in a file, nothing was sent;
# 5 no connection, or it broke (the same command continues); 6 the host key is not that of the first contact.

set -euo pipefail
called_from=$PWD
root=$(cd "$(dirname "$0")" && pwd)
cd "$root"
. forge_core/remote/sync.sh

NEVER=(.git '.env*' wandb .vast .venv '.venv-*' __pycache__ .netrc _netrc .ssh .aws .gnupg .kaggle)
NEVER+=(.git-credentials .npmrc .pypirc 'id_rsa*' 'id_dsa*' 'id_ecdsa*' 'id_ed25519*')
NEVER+=('*.pem' '*.key' '*.p12' '*.pfx' '*.ppk' .rsync-partial)
NEVER+=(.vast_api_key vast_api_key kaggle.json credentials 'credentials.[!p]*') # but credentials.py

# The names of what git does not ignore below a folder ("" or "sub/"), each ended by a NUL. git is asked, so all its rules
# count, wherever they are written; submodules and other repositories in the tree answer for themselves.
unignored() {
    local name
    "${GIT[@]}" -C "./$1" ls-files -z --cached --others --exclude-standard | while IFS= read -r -d '' name; do
        name=$1${name%/}
        if [ -L "$name" ] || [ -f "$name" ]; then
            printf '%s\0' "$name"
        elif [ -e "$name/.git" ]; then
            (GIT=(git) && unignored "$name/") || exit
        fi
    done
}

# Names, without those in which a part is one of NEVER, in any case.
without_keys() {
    local name pattern LC_ALL=C
    shopt -s nocasematch
    while IFS= read -r -d '' name; do
        for pattern in "${NEVER[@]}"; do
            # shellcheck disable=SC2053
            [[ /$name/ != */$pattern/* ]] || continue 2
        done
        printf './%s\0' "${name#./}" # without ./ rsync leaves out what begins with # or ;
    done
}

# What is to be sent, as hard links in $work/outgoing, so that what is searched for secrets is what is sent.
collect() {
    local path
    mkdir "$work/outgoing"
    command -v git > /dev/null || die 2 "git is not installed; it says what is not to be sent: nothing was sent"
    # shellcheck disable=SC2046
    unset $(git rev-parse --local-env-vars) # of another repository
    GIT=(git)
    if ! [ -e .git ] || [ -n "$(git rev-parse --show-cdup)" ]; then # a downloaded tree: an empty repository reads its rules
        git init -q "$work/empty"
        GIT+=("--git-dir=$root/$work/empty/.git" --work-tree=.)
    fi
    unignored "" > "$work/unignored" || die 2 "git does not say what it ignores: nothing was sent"
    for path in ${PATHS[@]+"${PATHS[@]}"}; do
        [ -d "$path" ] || die 2 "no such folder: $path"
        find -H "./$path" ! -type d -print0
    done > "$work/named"
    cat "$work/unignored" "$work/named" | without_keys > "$work/files"
    rsync -pt --files-from="$work/files" --from0 --link-dest="$root" ./ "$work/outgoing/"
}

refuse_secrets() {
    local status=0
    (cd "$work/outgoing" && python3 -I "$root/forge_core/remote/leaks.py" .) || status=$?
    [ $status -ne 1 ] || die 3 "the files above hold secrets: nothing was sent"
    [ $status -eq 0 ] || die 2 "the files could not be searched for secrets: nothing was sent"
}

arguments "$@"
{ [ -d forge_core ] && grep -q '^name = "churninator-forge"' pyproject.toml; } 2> /dev/null ||
    die 2 "$root is not the project's folder: nothing was sent"
begin push
collect
refuse_secrets
on_host "{ command -v rsync || { apt-get update && apt-get install -y rsync; }; } > /dev/null && mkdir -p $REMOTE_DIR" \
    < /dev/null > /dev/null || die 1 "the host has no rsync and apt-get does not install it, or $REMOTE_DIR cannot be made"
rsync_over_ssh -rpt --partial-dir=.rsync-partial --delay-updates --out-format='%i %l' \
    -- "$work/outgoing/" "$HOST:$REMOTE_DIR/" > "$work/sent" ||
    die 5 "broke off: no half file is in place. The same command again continues."
awk -v to="$HOST:$REMOTE_DIR" '/^<f/ { files++; bytes += $2 }
    END { printf "sent %d new or changed files, %.0f bytes, to %s\n", files, bytes, to }' "$work/sent"
