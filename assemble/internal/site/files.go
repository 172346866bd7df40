package site

import (
	"fmt"
	"slices"
	"strings"

	"github.com/decant-build/decant/assemble/internal/layer"
)

// Files are the entries that go into the site's layer beside the site and its siblings,
// sorted: the configuration, and what it needs to work.
func Files(a *Analysis, s Server, o ServeOptions) ([]layer.Entry, error) {
	conf, err := Config(a, s, o)
	if err != nil {
		return nil, err
	}
	entries := []layer.Entry{generated(confFile, 0o644, conf)}
	if s.takesOver(o) {
		entries = append(entries, generated(mainConfFile, 0o644, mainConfText))
	}
	if len(o.RuntimeEnv) > 0 {
		if !s.Hooks {
			return nil, &OptionError{"RuntimeEnv", strings.Join(o.RuntimeEnv, ","),
				"the base has no entrypoint that runs scripts before nginx",
				"use a base whose entrypoint is nginx's /docker-entrypoint.sh"}
		}
		entries = append(entries, generated(hookFile, 0o755, hook(o.RuntimeEnv)))
	}
	layer.Sort(entries)
	return entries, nil
}

// Own are the entries of a configuration that the user wrote, checked by CheckConf.
func Own(file string, text []byte) ([]layer.Entry, error) {
	place, err := CheckConf(file, text)
	if err != nil {
		return nil, err
	}
	return []layer.Entry{generated(place, 0o644, string(text))}, nil
}

func generated(name string, mode uint32, text string) layer.Entry {
	return layer.Entry{Name: name, Mode: mode, Data: []byte(text), Size: int64(len(text))}
}

// mainConfText takes the place of an nginx.conf that is written for root.
const mainConfText = `# nginx for a user who is not root, and a root file system that may be read-only: all
# that it writes goes to /tmp. decant wrote this file, because the image's user was changed.

worker_processes auto;
error_log stderr notice;
pid /tmp/nginx.pid;

events {
    worker_connections 1024;
}

http {
    client_body_temp_path /tmp/client_temp;
    proxy_temp_path /tmp/proxy_temp;
    fastcgi_temp_path /tmp/fastcgi_temp;
    uwsgi_temp_path /tmp/uwsgi_temp;
    scgi_temp_path /tmp/scgi_temp;

    include /etc/nginx/mime.types;
    default_type application/octet-stream;

    log_format main '$remote_addr - $remote_user [$time_local] "$request" '
                    '$status $body_bytes_sent "$http_referer" '
                    '"$http_user_agent" "$http_x_forwarded_for"';
    access_log /dev/stdout main;

    sendfile on;
    keepalive_timeout 65;

    include /etc/nginx/conf.d/*.conf;
}
`

// hook is the script that writes env.js when the container starts. It needs a POSIX shell
// and env, mv, sed, sort and tr, which all images with that entrypoint have. names were
// validated.
func hook(names []string) string {
	var exact, prefixes []string
	for _, n := range names {
		if prefix, found := strings.CutSuffix(n, "*"); found {
			prefixes = append(prefixes, prefix)
		} else {
			exact = append(exact, n)
		}
	}
	slices.Sort(exact)
	slices.Sort(prefixes)
	list := `printf '%s\n'`
	for _, n := range exact {
		list += " " + n
	}
	if len(exact) == 0 {
		list = ":"
	}
	for _, p := range prefixes {
		list += fmt.Sprintf("\n    env | sed -n 's/^\\(%s[A-Za-z0-9_]*\\)=.*/\\1/p'", p)
	}
	return strings.NewReplacer("@LIST@", list, "@FILE@", envFile,
		"@LS@", "\u2028", "@PS@", "\u2029").Replace(hookText)
}

const hookText = `#!/bin/sh
# Writes the variables of the container that the site may see, for its pages to load as
# env.js. decant wrote this file. /tmp has to be writable, and nothing else.
set -eu
LC_ALL=C
export LC_ALL
umask 022

file=@FILE@
new=$file.$$
trap 'rm -f "$new"' EXIT

# Whatever is in a value, it ends neither its string nor the script.
escaped() {
    printf '%s.' "$1" | tr -d '\000-\010\013\014\016-\037' | sed -e 's/\\/\\\\/g' -e 's/"/\\"/g' \
        -e 's/</\\u003c/g' -e 's/@LS@/\\u2028/g' -e 's/@PS@/\\u2029/g' \
        -e "s/$tab/\\\\t/g" -e "s/$cr/\\\\r/g" |
        sed -e ':more' -e '$!{' -e 'N' -e 'b more' -e '}' -e 's/\n/\\n/g' -e 's/\.$//'
}
tab=$(printf '\t')
cr=$(printf '\r')

# A line of a value may look like a variable: the name is looked up below.
names() {
    @LIST@
}

{
    printf 'window.__env = Object.freeze({'
    comma=
    for name in $(names | sort -u); do
        eval "[ -n \"\${$name+set}\" ]" || continue
        eval "value=\$$name"
        printf '%s\n  "%s": "%s"' "$comma" "$name" "$(escaped "$value")"
        comma=,
    done
    printf '\n});\n'
} >"$new"
mv -f "$new" "$file"
`
