#!/bin/sh
# Make sure that the browser tests find a Chromium; does nothing when there is one.
#   deploy/browser.sh VENV
set -eu
venv=$1
for name in chromium chromium-browser google-chrome; do
    command -v "$name" >/dev/null && exit 0
done
[ -n "${RATCHET_CHROMIUM:-}" ] && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "Installing Chromium"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core fonts-noto-cjk >/dev/null
else
    "$venv/bin/playwright" install chromium
fi
