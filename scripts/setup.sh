#!/bin/sh
# Makes a fresh clone ready with whatever the machine has: Node with npm, or Bun.
# Ends with the pinned Bun in node_modules/.bin and every dependency as bun.lock says.
# Does nothing, and touches no network, when that is already so.
set -eu
cd "$(dirname "$0")/.."

bun=node_modules/.bin/bun
wanted=$(sed -n 's/^ *"bun": "\([0-9.]*\)".*/\1/p' package.json)

works() { [ -x "$bun" ] && [ "$("$bun" --version 2>/dev/null)" = "$wanted" ]; }

if ! works; then
  if command -v npm >/dev/null 2>&1; then
    npm install --no-save --no-package-lock --no-audit --no-fund --loglevel=error
    # npm may be set to skip install scripts; Bun's only links its platform's program into place.
    works || node node_modules/bun/install.js
  elif command -v bun >/dev/null 2>&1; then
    bun install --frozen-lockfile
  else
    echo "setup: neither npm nor bun is on PATH; install Node.js (https://nodejs.org) or Bun (https://bun.sh)" >&2
    exit 1
  fi
  works || { echo "setup: Bun $wanted did not install into node_modules; remove node_modules and retry" >&2; exit 1; }
fi

stamp=node_modules/.pod-setup
if [ ! -f "$stamp" ] || [ bun.lock -nt "$stamp" ]; then
  "$bun" install --frozen-lockfile --silent
  : >"$stamp"
fi
