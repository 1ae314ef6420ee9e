#!/usr/bin/env bash
# Installs Debian's chromium if this machine has no browser that chromedp finds.
set -euo pipefail
for name in chromium chromium-browser google-chrome headless-shell; do
  if command -v "$name" >/dev/null; then
    echo "browser: $(command -v "$name")"
    exit 0
  fi
done
sudo=""
[ "$(id -u)" = 0 ] || sudo=sudo
$sudo apt-get update -qq
$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null
echo "browser: $(command -v chromium)"
