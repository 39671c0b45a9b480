#!/bin/sh
# Makes a fresh clone ready with whatever the machine has: Node with npm, or a Bun of any version.
# Ends with node_modules exactly as bun.lock says, the pinned Bun in its .bin. Does nothing, and
# touches no network, when that is already so.
#
# One run at a time works, on a copy beside node_modules that is renamed into place: a run that is
# interrupted leaves nothing half-made. `*.tmp` is ignored by git. Only POSIX tools are needed.
set -eu
CDPATH='' cd -- "$(dirname -- "$0")/.."

lock=.setup-lock.tmp
stage=$PWD/node_modules.$$.tmp
stamp=.pod-setup
lock_wait_s=600

wanted='' # the version of Bun that package.json pins: `"bun": "1.2.3",`
while IFS='"' read -r _ key _ value _; do
  if [ "$key" = bun ] && [ -n "$value" ]; then wanted=$value; fi
done <package.json
pinned=$(cksum <bun.lock)

fail() {
  echo "setup: $1" >&2
  exit 1
}
works() { [ "$("$1" --version 2>/dev/null)" = "$wanted" ]; }
ready() { [ "$(cat node_modules/$stamp 2>/dev/null)" = "$pinned" ] && works node_modules/.bin/bun; }

# Waits until no other run works here; the lock is a link that names its holder's process.
take_lock() {
  waited=0
  until ln -s $$ $lock 2>/dev/null; do
    if ! [ -L $lock ]; then # gone meanwhile, or this directory cannot be written: `ln` says it
      ln -s $$ $lock && return
      [ -L $lock ] || exit 1
    fi
    holder=$(readlink $lock || :)
    if ! kill -0 "$holder" 2>/dev/null; then
      rm -f $lock
      continue
    fi
    [ $waited -gt 0 ] || echo "setup: waiting for another setup (process $holder)" >&2
    [ $waited -lt $lock_wait_s ] || fail "process $holder does not finish; end it or remove $lock"
    waited=$((waited + 1))
    sleep 1
  done
}

# Sets `bun` to a working Bun of the pinned version: one that is there already, or a fetched one.
find_bun() {
  for bun in "$PWD/node_modules/.bin/bun" "$(command -v bun || :)"; do
    if works "$bun"; then return; fi
  done
  package=$stage/fetch/node_modules/bun
  bun=$package/bin/bun.exe # so named on every platform
  mkdir "$stage/fetch"
  printf '{ "dependencies": { "bun": "%s" }, "trustedDependencies": ["bun"] }\n' "$wanted" \
    >"$stage/fetch/package.json"
  if command -v npm >/dev/null 2>&1; then
    (cd "$stage/fetch" && npm install --no-package-lock --include=optional --no-audit --no-fund \
      --no-update-notifier --loglevel=error >/dev/null) || :
    # npm may be set to skip install scripts; Bun's only links its platform's program into place.
    works "$bun" || [ ! -f "$package/install.js" ] || node "$package/install.js" || :
  fi
  if ! works "$bun" && command -v bun >/dev/null 2>&1; then
    (cd "$stage/fetch" && bun install --no-progress >/dev/null) || :
  fi
  works "$bun" || fail "could not fetch Bun $wanted; is the package registry in reach?"
}

if ready; then exit 0; fi
command -v npm >/dev/null 2>&1 || command -v bun >/dev/null 2>&1 || works node_modules/.bin/bun ||
  fail "neither npm nor bun is on PATH; install Node.js (https://nodejs.org) or Bun (https://bun.sh)"
take_lock
trap 'rm -rf "$stage" $lock' EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM
if ready; then exit 0; fi # the other run did it

echo "setup: installing Bun $wanted and the dependencies into node_modules" >&2
rm -rf node_modules.*.tmp || : # of runs that were killed
mkdir "$stage"
find_bun
for file in package.json bun.lock bunfig.toml .npmrc; do
  if [ -f "$file" ]; then cp "$file" "$stage"; fi
done
(cd "$stage" && "$bun" install --frozen-lockfile --no-progress >/dev/null) ||
  fail "could not install the dependencies"
works "$stage/node_modules/.bin/bun" || (cd "$stage/node_modules/bun" && "$bun" install.js)
echo "$pinned" >"$stage/node_modules/$stamp"

if [ -e node_modules ]; then mv node_modules "$stage/old"; fi
mv "$stage/node_modules" .
ready || fail "Bun $wanted did not get into node_modules; remove node_modules and try again"
