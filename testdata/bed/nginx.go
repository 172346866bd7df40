package bed

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// nginxVersion is the version of the recipe: raise it with every change below or
// in files/nginx and files/os, or caches keep what the old one made.
const nginxVersion = "1"

// architectures are those of the nginx bases.
func architectures() []string { return []string{"amd64", "arm64"} }

// applets are the commands that busybox is linked to, for entry points and for
// people who look into a container.
const applets = "awk basename cat chmod cp cut date dirname du echo env expr false find grep head id " +
	"ln ls mkdir mktemp mv printf ps pwd readlink realpath rm rmdir sed seq sleep sort stat tail tar tee test " +
	"touch tr true uname uniq wc which whoami xargs"

// Nginx makes a base of the shape of Docker Hub's official nginx and returns its
// OCI layout: one index, named "nginx", of linux/amd64 and linux/arm64. The site
// is /usr/share/nginx/html, conf.d/default.conf listens on port 80, the workers
// are nginx (101:101), scripts in /docker-entrypoint.d run at the start, and the
// logs go to the standard streams. The programs are Debian's, the shell is dash,
// the other tools are busybox. Unlike the official image it has no script that
// adds IPv6 to default.conf, tunes the number of workers or finds resolvers.
func (b *Bed) Nginx(ctx context.Context) (layoutDir string, err error) {
	return b.nginx(ctx, nginxVariant{name: "nginx", conf: "nginx/nginx.conf", port: "80"})
}

// NginxUnprivileged is Nginx in the shape of nginxinc's nginx-unprivileged: the
// user is 101, port 8080, and what nginx writes goes to /tmp. The layers below
// the configuration are the same. Its index is named "nginx-unprivileged".
func (b *Bed) NginxUnprivileged(ctx context.Context) (layoutDir string, err error) {
	return b.nginx(ctx, nginxVariant{name: "nginx-unprivileged", conf: "nginx/nginx-unprivileged.conf",
		port: "8080", user: "101"})
}

type nginxVariant struct{ name, conf, port, user string }

func (b *Bed) nginx(ctx context.Context, variant nginxVariant) (string, error) {
	return b.once(ctx, variant.name+"-v"+nginxVersion, func(dir string) error {
		work, err := os.MkdirTemp(dir, "work-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(work)
		configLayer := filepath.Join(work, "config.tar.gz")
		if err := nginxConfigLayer(variant, configLayer); err != nil {
			return err
		}
		var images []v1.Image
		for _, arch := range architectures() {
			layers, err := b.nginxLayers(ctx, arch)
			if err != nil {
				return err
			}
			config, err := nginxConfig(layers, variant)
			if err != nil {
				return err
			}
			img, err := newImage(arch, []recipeLayer{
				{filepath.Join(layers, "os.tar.gz"), "bed: dash and busybox from Debian"},
				{filepath.Join(layers, "nginx.tar.gz"), "bed: nginx from Debian"},
				{configLayer, "bed: configuration of nginx"},
			}, config)
			if err != nil {
				return err
			}
			images = append(images, img)
		}
		return writeLayout(ctx, dir, variant.name, images)
	})
}

func nginxConfig(layers string, variant nginxVariant) (v1.Config, error) {
	full, err := version(layers, "nginx", "nginx")
	if err != nil {
		return v1.Config{}, err
	}
	upstream, release, _ := strings.Cut(full, "-")
	return v1.Config{
		User:         variant.user,
		ExposedPorts: map[string]struct{}{variant.port + "/tcp": {}},
		Env: []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
			"NGINX_VERSION=" + upstream, "PKG_RELEASE=" + release},
		Entrypoint: []string{"/docker-entrypoint.sh"},
		Cmd:        []string{"nginx", "-g", "daemon off;"},
		StopSignal: "SIGQUIT",
	}, nil
}

// nginxLayers makes the layers of an architecture that both variants share.
func (b *Bed) nginxLayers(ctx context.Context, arch string) (string, error) {
	return b.once(ctx, "nginx-layers-"+arch+"-v"+nginxVersion, func(dir string) error {
		system := layerRecipe{packages: []string{"base-files", "libc6", "dash", "busybox"},
			more: func(t *tree) error {
				for _, applet := range strings.Fields(applets) {
					t.link("usr/bin/"+applet, "busybox")
				}
				return addSystem(t, "", "")
			}}
		if err := b.debianLayer(ctx, dir, "os", arch, system); err != nil {
			return err
		}
		server := layerRecipe{packages: []string{"nginx", "nginx-common", "libcrypt1", "libpcre2-8-0",
			"libssl3", "zlib1g", "gettext-base"}, more: trimNginx}
		return b.debianLayer(ctx, dir, "nginx", arch, server)
	})
}

// trimNginx takes away what Debian's packages configure and the official image
// does not have.
func trimNginx(t *tree) error {
	for name := range t.entries {
		for _, prefix := range []string{"etc/nginx/modules-", "etc/nginx/sites-", "etc/nginx/snippets",
			"usr/share/nginx/html", "var/log/nginx", "usr/share/nginx/modules-available"} {
			if strings.HasPrefix(name, prefix) {
				delete(t.entries, name)
			}
		}
	}
	t.dir("var/lib/nginx", 0o755, 0) // the parent of Debian's temporary paths
	return nil
}

// nginxConfigLayer writes the layer that the variants differ in.
func nginxConfigLayer(variant nginxVariant, file string) error {
	t, err := newTree(filepath.Dir(file))
	if err != nil {
		return err
	}
	defer t.close()
	const user = "nginx:x:101:101:nginx user:/nonexistent:/bin/false\n"
	if err := addUsers(t, user, "nginx:x:101:\n"); err != nil {
		return err
	}
	for _, f := range []struct {
		name, recipe string
		mode         os.FileMode
	}{
		{"docker-entrypoint.sh", "nginx/docker-entrypoint.sh", 0o755},
		{"docker-entrypoint.d/20-envsubst-on-templates.sh", "nginx/20-envsubst-on-templates.sh", 0o755},
		{"etc/nginx/nginx.conf", variant.conf, 0o644},
		{"etc/nginx/conf.d/default.conf", "nginx/default.conf", 0o644},
		{"usr/share/nginx/html/index.html", "nginx/index.html", 0o644},
		{"usr/share/nginx/html/50x.html", "nginx/50x.html", 0o644},
	} {
		content, err := recipe(f.recipe)
		if err != nil {
			return err
		}
		if f.recipe == "nginx/default.conf" {
			content = strings.Replace(content, "listen 80;", fmt.Sprintf("listen %s;", variant.port), 1)
		}
		if err := t.file(f.name, f.mode, content); err != nil {
			return err
		}
	}
	t.link("var/log/nginx/access.log", "/dev/stdout")
	t.link("var/log/nginx/error.log", "/dev/stderr")
	t.dir("var/cache/nginx", 0o755, 101)
	if variant.user != "" {
		// nginxinc's image lets its user write the configuration, for templates.
		t.dir("etc/nginx/conf.d", 0o755, 101)
	}
	return t.writeLayer(file)
}
