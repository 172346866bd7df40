package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/decant-build/decant/registry/registrytest"
)

// readmeCommands lists the commands of the README: indented lines, and inline
// code, that begin with a program's name.
func readmeCommands(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	program := regexp.MustCompile(`^(decant|go|kubectl|CGO_ENABLED=0 go) \S`)
	var commands []string
	for line := range strings.Lines(string(text)) {
		if code, ok := strings.CutPrefix(line, "    "); ok && program.MatchString(code) {
			commands = append(commands, strings.TrimSpace(code))
			continue
		}
		for _, m := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(line, -1) {
			if program.MatchString(m[1]) {
				commands = append(commands, m[1])
			}
		}
	}
	return commands
}

// TestReadmeIsTrue runs every command of the README. Hosts are those of a
// registry in this process, which is also the mirror of Docker Hub.
func TestReadmeIsTrue(t *testing.T) {
	commands := readmeCommands(t)
	if len(commands) < 10 {
		t.Fatalf("found %d commands only: %q", len(commands), commands)
	}
	w := newReadmeWorld(t)
	for _, command := range commands {
		t.Run(command, func(t *testing.T) { w.run(t, command) })
	}
}

// readmeWorld is a user's machine.
type readmeWorld struct {
	dir, bin, host string
}

func newReadmeWorld(t *testing.T) *readmeWorld {
	w := &readmeWorld{dir: t.TempDir(), bin: buildDecant(t)}
	reg := registrytest.New(t, registrytest.Options{})
	w.host = reg.Host
	for _, base := range []string{"library/nginx:stable-alpine", "library/nginx", "nginxinc/nginx-unprivileged:stable"} {
		pushBase(t, w.host+"/"+base)
	}
	files := map[string]string{
		"dist/index.html": "<!doctype html>",
		".decant.yaml":    "mirror: docker.io=" + w.host + "\n",
		"package.json":    `{"name": "shop", "scripts": {"build": "node build.js"}}`,
		"build.js": "const fs = require('fs'); fs.mkdirSync('dist', {recursive: true});" +
			"fs.writeFileSync('dist/index.html', '<!doctype html>')",
	}
	if !testing.Short() {
		b := openBed(t)
		node := needed[string](t)(b.Node(t.Context(), "24"))
		for ref, layout := range map[string]string{
			"library/node:24-slim":        node,
			"library/node":                node,
			"library/nginx:stable-alpine": needed[string](t)(b.Nginx(t.Context())),
		} {
			if _, err := b.Push(t.Context(), layout, w.host+"/"+ref); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, text := range dockerFiles {
		files["docker/"+name] = text
	}
	for _, name := range []string{".decant.yaml", "package.json", "build.js"} {
		files["docker/"+name] = files[name]
	}
	for name, text := range files {
		name = filepath.Join(w.dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

// dockerFiles are those of a project with Dockerfiles, which has a directory of
// its own: the other commands find a project without.
var dockerFiles = map[string]string{
	"Dockerfile":         multiStageDockerfile,
	"Dockerfile.builder": nodeDockerfile,
	"Dockerfile.site":    "FROM scratch\nCOPY --from=nginx /usr/sbin /\n",
}

// aboutDockerfile matches the commands that are run there.
var aboutDockerfile = regexp.MustCompile(`Dockerfile|--target | my-app `)

// buildDecant makes the binary as the README says.
func buildDecant(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	cmd := exec.Command("go", "build", "-o", filepath.Join(dir, "decant"), "./cmd/decant")
	cmd.Dir = "../.."
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return dir
}

func (w *readmeWorld) run(t *testing.T, command string) {
	switch {
	case command == "CGO_ENABLED=0 go build -o decant ./cmd/decant":
		return // newReadmeWorld did
	case strings.HasPrefix(command, "go test "):
		script, err := os.ReadFile("../../.ci/run")
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Contains(script, []byte(command+"\n")) {
			t.Errorf(".ci/run does not run %q", command)
		}
		return
	case strings.HasPrefix(command, "go run ./testdata/"):
		w.goRun(t, command)
		return
	}
	if inner := regexp.MustCompile(`\$\((.*)\)`).FindStringSubmatch(command); inner != nil {
		command = inner[1]
	}
	docker := aboutDockerfile.MatchString(command)
	if testing.Short() && (docker || strings.HasPrefix(command, "decant build . ") || strings.HasPrefix(command, "decant run ")) {
		t.Skip("-short") // it needs the bed
	}
	if command == "decant login HOST" {
		command = "echo secret | decant login " + w.host + " -u me --password-stdin"
	}
	// Shown as a user sees it: relative to the project, with the user's host.
	command = strings.NewReplacer("registry.example.com", w.host, "HOST/", w.host+"/").Replace(command)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	// The file of settings stands beside dist; commands that name dist read it there.
	script := "cp .decant.yaml dist/ 2>/dev/null; " + command
	if docker {
		script = command
	} else if strings.HasPrefix(command, "decant run ") {
		// It serves until ^C, which the shell gives it here.
		script = `log=../run.log; : >$log; ` + command + ` --port 0 >/dev/null 2>$log &
			trap "kill -INT $!" EXIT; i=0
			until grep -q 'until ^C' $log; do sleep 0.1; i=$((i+1)); [ $i -lt 300 ] || { cat $log; exit 1; }; done
			url=$(sed -n 's/.* on \(http[^ ]*\) until.*/\1/p' $log)
			curl -fsS --retry 100 --retry-all-errors --retry-delay 1 --max-time 30 "$url" >/dev/null || { cat $log; exit 1; }
			trap - EXIT; kill -INT $!; wait $!`
	}
	cmd := exec.CommandContext(ctx, "sh", "-ec", script)
	cmd.Dir = w.dir
	if docker {
		cmd.Dir = filepath.Join(w.dir, "docker")
	}
	cmd.Env = append(os.Environ(), "PATH="+w.bin+":"+os.Getenv("PATH"), "HOME="+w.dir,
		"XDG_CACHE_HOME="+filepath.Join(w.dir, "cache"), "XDG_DATA_HOME="+filepath.Join(w.dir, "data"))
	cmd.WaitDelay = 5 * time.Second // for what a failed script left in the background
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// goRun runs a program of testdata in the repository.
func (w *readmeWorld) goRun(t *testing.T, command string) {
	if testing.Short() {
		t.Skip("-short")
	}
	openBed(t)
	args := strings.Fields(command)
	if strings.HasSuffix(command, "/bench") {
		args = append(args, "-sites", "small", "-runs", "1")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir = "../.."
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}
