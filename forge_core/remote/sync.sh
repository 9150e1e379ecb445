# What sync_to_vast.sh and sync_from_vast.sh share: arguments, the ssh command, and what to say when it fails.
# Sourced, in the project's folder ($root), with $called_from. Made for bash 3.2 and rsync 2.6.9 too, which macOS has.
# shellcheck shell=bash disable=SC2154

REMOTE_DIR=${FORGE_REMOTE_DIR:-/workspace/churninator-forge}
MOST_SAID=131072 # KiB that a host may write into a file here, beside the files that are fetched
HOST=
PATHS=()
SSH=(ssh -o ForwardAgent=no -o ClearAllForwardings=yes -o BatchMode=yes -o ConnectTimeout=20)
SSH+=(-o ServerAliveInterval=15 -o ServerAliveCountMax=3)

die() {
    echo "${0##*/}: $2" >&2
    exit "$1"
}

# Sets HOST, PATHS and SSH from what the Vast.ai page shows, in any order, and the paths.
arguments() {
    local config=
    [ "${1:-}" != ssh ] || shift
    while [ $# -gt 0 ]; do
        case $1 in
        -h | --help)
            sed -n '2,/^$/s/^# \{0,1\}//p' "$0"
            exit 0
            ;;
        --)
            shift
            break
            ;;
        -[FpiL])
            [ $# -gt 1 ] || die 2 "$1 needs a value"
            ssh_option "$1" "$2"
            shift
            ;;
        -*) die 2 "unknown option $1; see --help" ;;
        *) operand "$1" ;;
        esac
        shift
    done
    while [ $# -gt 0 ]; do
        operand "$1"
        shift
    done
    [ -n "$HOST" ] || die 2 "no host; see --help"
    [ -n "$config" ] || SSH+=(-o StrictHostKeyChecking=accept-new -o UserKnownHostsFile=.vast/known_hosts)
    case $REMOTE_DIR in
    *[!A-Za-z0-9/._-]* | -*) die 2 "FORGE_REMOTE_DIR may have letters, digits and / . _ - only" ;;
    esac
}

operand() {
    if [ -n "$HOST" ]; then
        add_path "$1"
        return
    fi
    case $1 in -*) die 2 "not a host: $1" ;; esac
    HOST=$1
}

ssh_option() {
    local key
    case $1 in
    -L) ;; # a tunnel that the Vast.ai page proposes; files need none
    -p) SSH+=(-p "$2") ;;
    -i)
        key=$(absolute "$2")
        case $key in *[\"\\\$]*) die 2 "ssh takes no key whose path has \", \\ or \$: $key" ;; esac
        SSH+=(-o IdentitiesOnly=yes -o "IdentityFile=\"${key//\%/%%}\"") # ssh expands %h and the like
        ;;
    -F)
        config=$2
        SSH+=(-F "$(absolute "$2")")
        ;;
    esac
}

absolute() {
    case $1 in /*) echo "$1" ;; *) echo "$called_from/$1" ;; esac
}

# A path below the project's folder, in its plain form; without quotes, since the host's shell gets it in quotes.
add_path() {
    local path=${1#./}
    while [ "${path%/}" != "$path" ] && [ -n "$path" ]; do path=${path%/}; done
    case /$path/ in
    // | /-* | *//* | */./* | */../* | *[[:cntrl:]]* | *\'*) die 2 "not a plain path below the project's folder: $1" ;;
    esac
    PATHS+=("$path")
}

# Makes $work, an empty folder that goes when the script ends. One script of a kind runs at a time.
begin() {
    local other
    work=.vast/$1
    mkdir -p .vast
    other=$(readlink "$work.lock" || true)
    if [ -n "$other" ] && kill -0 "$other" 2> /dev/null; then die 2 "another ${0##*/} is at work (process $other)"; fi
    ln -sfn $$ "$work.lock"
    trap 'rm -rf "$work" "$work.lock"' EXIT
    rm -rf "$work" && mkdir "$work"
}

# Runs a command on the host. Where the host is not reached, that is the end.
on_host() {
    local status=0
    # Python of PyTorch's images, which ssh sessions do not know
    (ulimit -f "$MOST_SAID" && exec "${SSH[@]}" "$HOST" "export PATH=\"\$PATH:/opt/conda/bin\"; $1") \
        2> "$work/ssh.log" || status=$?
    [ $status -eq 0 ] || shown < "$work/ssh.log" >&2
    [ $status -ne 255 ] || not_reached
    return $status
}

not_reached() {
    if grep -q 'IDENTIFICATION HAS CHANGED' "$work/ssh.log"; then
        die 6 "$HOST shows another host key than before, so it may be another machine: nothing was copied.
If you rented a new machine at that address, remove the old key with the ssh-keygen command above."
    fi
    die 5 "no connection to $HOST: nothing was put in place. The same command again continues."
}

# What a host wrote, without what a terminal would obey.
shown() {
    python3 -I forge_core/remote/staging.py show
}

# rsync over this connection. -e splits its command at spaces and knows no escapes, so the command is a file.
rsync_over_ssh() {
    local status=0
    {
        printf 'ulimit -f %d; exec' "$MOST_SAID"
        printf ' %q' "${SSH[@]}"
        echo ' "$@"'
    } > "$work/ssh"
    rsync -e "bash $work/ssh" "$@" 2> "$work/rsync.log" || status=$?
    shown < "$work/rsync.log" >&2
    return $status
}
