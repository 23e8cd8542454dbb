#!/bin/sh
# One machine of docker-compose.yml; the first time it founds the domain or joins it.
#
#   machine.sh admission MACHINE    found the domain as MACHINE, invite those in `machines`, sign their requests, end
#   machine.sh join MACHINE         join the domain unless that is done, then run
#   machine.sh run MACHINE          run
#
# Invitation, request and answer of each machine go through the exchange directory. Whatever step this dies at, the same
# call again goes on from there. No password is kept: `p2pmail user password ADDRESS` on the agent makes one.
set -eu
umask 077
what=$1 machine=$2
configuration=$(dirname "$0")
site=${P2PMAIL_SITE:-/srv/p2pmail}
exchange=${P2PMAIL_EXCHANGE:-/exchange}

# from here on "$@" is: --set LINE for every line of the machine's configuration
set --
while IFS= read -r line; do
    case $line in
        '' | '#'*) ;;
        *) set -- "$@" --set "$line" ;;
    esac
done <"$configuration/$machine.toml"

wait_for() {
    until [ -e "$1" ]; do sleep 0.2; done
}

# the rest of its arguments writes file $1, which is there only when it is complete
write() {
    file=$1
    shift
    "$@" </dev/null >"$file.new"
    mv "$file.new" "$file"
}

invite() {
    [ -e "$exchange/$1.answer" ] || [ -e "$exchange/$1.invitation" ] ||
        write "$exchange/$1.invitation" p2pmail invite "$2" "$3" -c "$site/p2pmail.toml"
}

sign() {
    [ -e "$exchange/$1.answer" ] && return
    wait_for "$exchange/$1.request"
    write "$exchange/$1.answer" p2pmail ca sign "$exchange/$1.request" -c "$site/p2pmail.toml"
}

# calls $1 with machine, role and name of every newcomer whose role is among the other arguments
for_each() {
    action=$1
    shift
    while read -r newcomer role name; do
        case " $* " in
            *" $role "*) "$action" "$newcomer" "$role" "$name" ;;
        esac
    done <"$configuration/machines"
}

case $what in
    admission)
        if [ ! -e "$site/p2pmail.toml" ]; then
            domain=$(sed -n 's/^domain\.name *= *"\(.*\)"$/\1/p' "$configuration/$machine.toml")
            p2pmail init "$site" --domain "$domain" "$@"
        fi
        for_each invite node gateway user
        for_each sign node
        if [ ! -e "$exchange/replicated" ]; then
            # before the others are admitted, so that their first domain record says so
            p2pmail domain set k=3 w=2 -c "$site/p2pmail.toml"
            : >"$exchange/replicated"
        fi
        for_each sign gateway user
        : >"$exchange/complete"
        exit
        ;;
    join)
        if [ ! -e "$site/p2pmail.toml" ]; then
            wait_for "$exchange/$machine.invitation"
            write "$exchange/$machine.request" p2pmail join "$site" --invitation "$exchange/$machine.invitation" "$@"
            wait_for "$exchange/$machine.answer"
            head -c 24 /dev/urandom | base64 |
                p2pmail join "$site" --answer "$exchange/$machine.answer" --password-stdin >/dev/null
            # all begin together, rather than ask for a node that is not up yet less and less often
            wait_for "$exchange/complete"
        fi
        ;;
    run) ;;
    *)
        echo "machine.sh: $what: not one of admission, join, run" >&2
        exit 2
        ;;
esac
exec p2pmail run -c "$site/p2pmail.toml" "$@"
