#!/bin/sh
# Set up the virtual environment with the pinned dependencies; does nothing when it stands already.
#   deploy/install.sh VENV PYTHON
set -eu
venv=$1
python=$2
cd "$(dirname "$0")/.."

stamp=$venv/.installed
wanted=$(cat pyproject.toml constraints.txt deploy/install.sh | cksum)
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then
    exit 0
fi

[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
pip="$venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt"

# torch comes first: on x86-64 Linux the ordinary package brings gigabytes of CUDA, which a machine without an NVIDIA GPU
# cannot use. Without one take a wheel that this machine already has, else the CPU build, else whatever there is.
if ! "$venv/bin/python" -c 'import torch' 2>/dev/null; then
    echo "Installing torch"
    if nvidia-smi -L >/dev/null 2>&1 || [ "$(uname -sm)" != "Linux x86_64" ]; then
        $pip torch
    else
        $pip --no-deps --no-index torch 2>/dev/null \
            || $pip --no-deps --retries 1 --timeout 20 --index-url https://download.pytorch.org/whl/cpu torch \
            || $pip torch
    fi
fi
echo "Installing Ratchet and what it needs"
$pip --editable '.[test]'
echo "$wanted" > "$stamp"
