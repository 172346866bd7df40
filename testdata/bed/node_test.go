package bed

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/validate"
)

func TestNodeIsAValidImageThatRuns(t *testing.T) {
	t.Parallel()
	b := open(t)
	arch := hostArch(t)
	dir, err := b.Node(t.Context(), "22")
	need(t, err)
	index, err := readLayout(dir)
	if err != nil {
		t.Fatal(err)
	}
	// Only the manifests: the layers are read when they are unpacked.
	if err := validate.Index(index, validate.Fast); err != nil {
		t.Error(err)
	}
	root := unpack(t, dir, arch)
	checkLibraries(t, root, arch)
	config := imageConfig(t, dir, arch)
	if err := os.Mkdir(filepath.Join(root, "work"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, command, want string }{
		{"node", "node -p process.version", "v22."},
		{"npm", "npm --version", "10."},
		{"npx", "npx --version", "10."},
		{"yarn", "yarn --version", "1.22.22"},
		{"tools", "printf 'b\\na\\n' | sort | sed s/a/x/ | grep x | awk '{print $1}' | tar --version | head -n 1", "tar"},
		{"bash", "bash -c 'echo ${BASH_VERSION%%.*}'", "5"},
		{"user", "grep ^node: /etc/passwd", "node:x:1000:1000"},
		{"link to bin", "/bin/ls -d /lib64/ld*", "/lib64/ld"},
		{"authorities", "openssl x509 -noout -subject -in /etc/ssl/certs/ca-certificates.crt", "subject"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := inRoot(t, root, config.Env, "sh", "-c", c.command)
			if !strings.HasPrefix(got, c.want) {
				t.Errorf("%s printed %q", c.command, got)
			}
		})
	}
	t.Run("the entry point takes scripts", func(t *testing.T) {
		got := inRoot(t, root, config.Env, config.Entrypoint[0], "-p", "6*7")
		if strings.TrimSpace(got) != "42" {
			t.Errorf("printed %q", got)
		}
	})
}

// inRoot runs a command with root as its root directory and returns what it
// printed.
func inRoot(t *testing.T, root string, env []string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "/usr/bin/env", args...)
	cmd.Err, cmd.Path, cmd.Dir = nil, "/usr/bin/env", "/work"
	cmd.Args = append([]string{"env"}, args...)
	cmd.Env = append(env, "HOME=/work")
	if err := confine(cmd, root, IsolationNamespace); err != nil {
		t.Fatal(err)
	}
	out, err := cmd.CombinedOutput()
	if err != nil && len(out) == 0 && forbidden(err) {
		need(t, &MissingError{What: "a user namespace", Fix: err.Error()})
	}
	if err != nil {
		t.Fatalf("%q: %v: %s", args, err, out)
	}
	return string(out)
}
