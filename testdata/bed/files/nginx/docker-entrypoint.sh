#!/bin/sh
# Prepares nginx from /docker-entrypoint.d, then becomes the command: *.envsh
# are sourced, *.sh are run, both only when executable, in version order.
set -e

say() {
    [ -n "${NGINX_ENTRYPOINT_QUIET_LOGS:-}" ] || echo "$0: $*"
}

if [ "$1" = nginx ] || [ "$1" = nginx-debug ]; then
    scripts=$(find /docker-entrypoint.d/ -mindepth 1 -follow -type f | sort -V)
    [ -n "$scripts" ] || say "nothing in /docker-entrypoint.d/"
    old_ifs=$IFS
    IFS='
'
    for script in $scripts; do
        IFS=$old_ifs
        case $script in
        *.envsh | *.sh)
            if [ ! -x "$script" ]; then
                say "ignoring $script, which is not executable"
            elif [ "${script%.envsh}" != "$script" ]; then
                say "sourcing $script"
                . "$script"
            else
                say "running $script"
                "$script"
            fi
            ;;
        *) say "ignoring $script" ;;
        esac
    done
    IFS=$old_ifs
fi

exec "$@"
