#!/bin/sh
# A PostgreSQL of Debian's for comparison: bench/postgres.sh start|stop FOLDER. Listens on a socket
# in FOLDER only; start prints how to connect.
set -eu
action=$1
folder=$2
bin=/usr/lib/postgresql/15/bin
[ -x "$bin/postgres" ] || exit 1

run() {
    if [ "$(id -u)" = 0 ]; then
        runuser -u postgres -- "$@"
    else
        "$@"
    fi
}

case $action in
start)
    [ "$(id -u)" != 0 ] || chown postgres "$folder"
    cd "$folder"
    run "$bin/initdb" -D "$folder/data" -A trust -U postgres >"$folder/log" 2>&1
    run "$bin/pg_ctl" -D "$folder/data" -w -l "$folder/server.log" \
        -o "-c listen_addresses= -c unix_socket_directories=$folder" start >>"$folder/log" 2>&1
    printf 'host=%s dbname=postgres user=postgres\n' "$folder"
    ;;
stop)
    cd "$folder"
    run "$bin/pg_ctl" -D "$folder/data" -w -m fast stop >/dev/null 2>&1
    ;;
esac
