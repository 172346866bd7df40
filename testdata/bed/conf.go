package bed

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

var (
	// listenDirective is a listen directive, up to its parameters.
	listenDirective = regexp.MustCompile(`(?m)^(\s*)listen\s+[^;\s]+([^;]*);`)
	// absolutePath is a path of the image in a configuration; $1 is what is before.
	absolutePath = regexp.MustCompile(`([\s"'=:])(/(?:etc|usr/share|var|run|tmp|dev)/)`)
	// userDirective names the user of the workers.
	userDirective = regexp.MustCompile(`(?m)^\s*user\s+[^;]+;`)
)

// linkTree copies a directory tree: directories are made, files hard-linked, links
// made anew. It fails on anything else.
func linkTree(from, to string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, rel)
		switch {
		case d.IsDir():
			info, err := d.Info()
			if err != nil {
				return err
			}
			if err := os.Mkdir(target, 0o700); err != nil {
				return err
			}
			return os.Chmod(target, info.Mode()|0o700)
		case d.Type().IsRegular():
			return os.Link(path, target)
		case d.Type()&fs.ModeSymlink != 0:
			link, err := os.Readlink(path)
			if err != nil {
				return err
			}
			return os.Symlink(link, target)
		default:
			return fmt.Errorf("copying %s: it is no file, directory or link", path)
		}
	})
}

// rewriteConf replaces the configuration files below dir, which are hard links, by
// new files of changed content.
func rewriteConf(dir string, change func(string) string) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || !strings.HasSuffix(path, ".conf") {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		changed := change(string(data))
		if changed == string(data) {
			return nil
		}
		if err := os.Remove(path); err != nil {
			return err
		}
		return os.WriteFile(path, []byte(changed), 0o644)
	})
}

// relocate returns the change that makes a configuration work for a plain user:
// the port in any case, and the paths too where the image is not the root
// directory.
func relocate(port int, root string, isolation Isolation) func(string) string {
	return func(conf string) string {
		conf = listenDirective.ReplaceAllStringFunc(conf, func(directive string) string {
			if strings.Contains(directive, "[::]") {
				return "" // the same port again, for IPv6
			}
			return listenDirective.ReplaceAllString(directive, fmt.Sprintf("${1}listen 127.0.0.1:%d$2;", port))
		})
		if isolation != IsolationNone {
			return conf
		}
		conf = absolutePath.ReplaceAllStringFunc(conf, func(match string) string {
			return match[:1] + root + match[1:]
		})
		conf = userDirective.ReplaceAllString(conf, "")
		if !strings.Contains(conf, "http {") {
			return conf
		}
		// The image's users are not known here; to a plain user this means nothing.
		conf = strings.Replace(conf, "http {", "user root;\nhttp {", 1)
		for _, directive := range []string{"client_body_temp_path", "proxy_temp_path",
			"fastcgi_temp_path", "uwsgi_temp_path", "scgi_temp_path"} {
			if !strings.Contains(conf, directive) {
				conf = strings.Replace(conf, "http {",
					fmt.Sprintf("http {\n    %s %s;", directive, filepath.Join(root, "tmp", directive)), 1)
			}
		}
		return conf
	}
}
