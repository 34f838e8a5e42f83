#!/bin/sh
# Have the programs that some tests drive: Chromium and its driver, Xvfb, zsh and fish.
set -eu

has() {
    command -v "$1" >/dev/null
}

has_all() {
    { has chromium || has chromium-browser || has google-chrome; } &&
        has chromedriver && has Xvfb && has zsh && has fish
}

if has_all; then
    echo "Chromium, its driver, Xvfb, zsh and fish are here"
    exit 0
fi
if ! has apt-get; then
    echo "there is no apt-get here: install Chromium or Chrome, its chromedriver, Xvfb, zsh and fish yourself" >&2
    exit 1
fi
as_root=
if [ "$(id -u)" != 0 ]; then
    as_root=sudo
fi
$as_root apt-get update -qq
$as_root apt-get install -y -qq --no-install-recommends chromium chromium-driver xvfb zsh fish
