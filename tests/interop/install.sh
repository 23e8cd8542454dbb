#!/bin/sh
# Installs the real programs that tests/interop needs, as far as apt works here; what stays missing is skipped there.
set -eu
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
missing=
for each in thunderbird:thunderbird swaks:swaks mbsync:isync neomutt:neomutt postfix:postfix; do
    command -v "${each%%:*}" >/dev/null || missing="$missing ${each##*:}"
done
if [ -z "$missing" ]; then
    exit 0
fi
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "not installed:$missing (needs root and apt-get); their tests are skipped"
    exit 0
fi
# no system-wide Postfix on port 25: the tests start their own
echo "postfix postfix/main_mailer_type select No configuration" | debconf-set-selections
export DEBIAN_FRONTEND=noninteractive
# $missing is a list
# shellcheck disable=SC2086
{ apt-get update -q && apt-get install -q -y --no-install-recommends $missing; } ||
    echo "apt-get could not install:$missing; their tests are skipped"
