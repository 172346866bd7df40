#!/bin/sh
# Writes /etc/nginx/conf.d/NAME from each /etc/nginx/templates/NAME.template,
# with the variables of the environment that are set.
set -eu

templates=${NGINX_ENVSUBST_TEMPLATE_DIR:-/etc/nginx/templates}
suffix=${NGINX_ENVSUBST_TEMPLATE_SUFFIX:-.template}
output=${NGINX_ENVSUBST_OUTPUT_DIR:-/etc/nginx/conf.d}

[ -d "$templates" ] || exit 0
if [ ! -w "$output" ]; then
    echo "$0: $output is not writable" >&2
    exit 0
fi
defined=$(env | sed -n 's/^\([A-Za-z_][A-Za-z0-9_]*\)=.*/${\1}/p' | tr '\n' ' ')
find "$templates" -follow -type f -name "*$suffix" | while read -r template; do
    name=${template#"$templates"/}
    target=$output/${name%"$suffix"}
    mkdir -p "${target%/*}"
    envsubst "$defined" <"$template" >"$target"
done
