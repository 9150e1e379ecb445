#!/usr/bin/env bash
# Sets a rented host up; a second run changes nothing. Needs Python 3.11 and, for missing tools, apt-get.
#   bash forge_core/remote/host/setup.sh
set -euo pipefail
cd "$(dirname "$0")/../../.."
export PATH="$PATH:/opt/conda/bin" DEBIAN_FRONTEND=noninteractive

missing=""
for tool in tmux rsync make pkill:procps; do
    command -v "${tool%%:*}" > /dev/null || missing="$missing ${tool##*:}"
done
if [ -n "$missing" ]; then
    echo "setup: installing$missing"
    apt-get update -qq && apt-get install -y -qq $missing > /dev/null
fi

# the image's torch is the pinned one: the environment sees it, and pip fetches what differs
if [ ! -x .venv/bin/python ]; then
    echo "setup: making .venv"
    python3 -m venv --system-site-packages .venv || { apt-get install -y -qq python3-venv > /dev/null &&
        python3 -m venv --system-site-packages .venv; }
fi
if [ ! .venv/.installed-host -nt pyproject.toml ] || [ ! .venv/.installed-host -nt constraints.txt ]; then
    echo "setup: installing the packages"
    .venv/bin/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[baselines]'
    touch .venv/.installed-host
fi
.venv/bin/forge doctor
if command -v nvidia-smi > /dev/null; then
    .venv/bin/python -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' ||
        { echo "setup: torch does not see this host's GPU (above); rent another one" >&2; exit 1; }
fi
