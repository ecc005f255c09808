#!/usr/bin/env bash
# The page test drives a real Chromium. Where Debian's packages are at hand it is installed; elsewhere we say so.
set -euo pipefail
for name in chromium chromium-browser google-chrome; do
  command -v "$name" >/dev/null 2>&1 && exit 0
done
if command -v apt-get >/dev/null 2>&1 && [ "$(id -u)" = 0 ]; then
  echo "installing chromium for the page test"
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core >/dev/null
else
  echo "no Chromium found: the page test will be left out. Install chromium to run it." >&2
fi
