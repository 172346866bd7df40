package bed

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestRelocateChangesOnlyWhatItMust(t *testing.T) {
	for _, c := range []struct {
		name, conf, want string
		isolation        Isolation
	}{
		{"port", "server {\n  listen 80;\n  root /usr/share/nginx/html;\n}\n",
			"server {\n  listen 127.0.0.1:999;\n  root /usr/share/nginx/html;\n}\n", IsolationNamespace},
		{"parameters", "listen       8080 default_server;\n", "listen 127.0.0.1:999 default_server;\n", IsolationChroot},
		{"address", "listen 0.0.0.0:80;\n", "listen 127.0.0.1:999;\n", IsolationChroot},
		{"IPv6", "listen 80;\nlisten [::]:80;\n", "listen 127.0.0.1:999;\n\n", IsolationNamespace},
		{"no directive", "# we listen 80;\nset $x \"listen 80;\";\n", "# we listen 80;\nset $x \"listen 80;\";\n",
			IsolationNamespace},
		{"paths", "root /usr/share/nginx/html;\nalias \"/tmp/env.js\";\ntry_files $uri /index.html;\n",
			"root /R/usr/share/nginx/html;\nalias \"/R/tmp/env.js\";\ntry_files $uri /index.html;\n", IsolationNone},
		{"user", "user nginx;\nhttp {\n client_body_temp_path /tmp/b;\n}\n",
			"\nuser root;\nhttp {\n" +
				"    scgi_temp_path /R/tmp/scgi_temp_path;\n    uwsgi_temp_path /R/tmp/uwsgi_temp_path;\n" +
				"    fastcgi_temp_path /R/tmp/fastcgi_temp_path;\n    proxy_temp_path /R/tmp/proxy_temp_path;\n" +
				" client_body_temp_path /R/tmp/b;\n}\n", IsolationNone},
	} {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, relocate(999, "/R", c.isolation)(c.conf)); diff != "" {
				t.Error(diff)
			}
		})
	}
}
