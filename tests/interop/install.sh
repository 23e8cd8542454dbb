#!/bin/sh
# Installs the real programs that tests/interop needs, as far as apt works here; what stays missing is skipped there.
set -eu
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin:/opt/exim4
missing=
for each in thunderbird:thunderbird swaks:swaks mbsync:isync neomutt:neomutt postfix:postfix; do
    command -v "${each%%:*}" >/dev/null || missing="$missing ${each##*:}"
done
# swaks's TLS, which its package only recommends
perl -MNet::SSLeay -e 1 2>/dev/null || missing="$missing libnet-ssleay-perl"
beside=
command -v exim4 >/dev/null || beside=exim4-daemon-light
if [ -z "$missing$beside" ]; then
    exit 0
fi
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "not installed:$missing $beside (needs root and apt-get); their tests are skipped"
    exit 0
fi
# no system-wide Postfix on port 25: the tests start their own
echo "postfix postfix/main_mailer_type select No configuration" | debconf-set-selections
export DEBIAN_FRONTEND=noninteractive

# Debian installs one MTA: of Exim's package the program alone is put beside Postfix, with its libraries and its user
put_exim() (
    # the libraries are a list
    # shellcheck disable=SC2046
    cd "$1" &&
        apt-get download -q exim4-daemon-light &&
        dpkg-deb -x ./*.deb . &&
        apt-get install -q -y --no-install-recommends --no-upgrade \
            $(dpkg-deb -f ./*.deb Depends | tr ',' '\n' | sed -n 's/^ *\(lib[^ ]*\).*/\1/p') &&
        { id Debian-exim >/dev/null 2>&1 ||
            useradd --system --user-group --home-dir /nonexistent --shell /usr/sbin/nologin Debian-exim; } &&
        install -D -m 755 usr/sbin/exim4 /opt/exim4/exim4
)

apt-get update -q || true
if [ -n "$missing" ]; then
    # $missing is a list
    # shellcheck disable=SC2086
    apt-get install -q -y --no-install-recommends $missing ||
        echo "apt-get could not install:$missing; their tests are skipped"
fi
if [ -n "$beside" ]; then
    unpacked=$(mktemp -d)
    put_exim "$unpacked" || echo "$beside could not be put beside Postfix; its tests are skipped"
    rm -r "$unpacked"
fi
