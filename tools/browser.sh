#!/bin/sh
# Have Chromium and its driver, which the tests of pages look with, and Xvfb, which windows are
# shown on.
set -eu

if command -v chromedriver >/dev/null && command -v Xvfb >/dev/null; then
    for browser in chromium chromium-browser google-chrome; do
        if command -v "$browser" >/dev/null; then
            echo "$browser, chromedriver and Xvfb are here"
            exit 0
        fi
    done
fi
if ! command -v apt-get >/dev/null; then
    echo "there is no apt-get here: install Chromium or Chrome, its chromedriver, and Xvfb, yourself" >&2
    exit 1
fi
as_root=
if [ "$(id -u)" != 0 ]; then
    as_root=sudo
fi
$as_root apt-get update -qq
$as_root apt-get install -y -qq --no-install-recommends chromium chromium-driver xvfb
