package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/decant-build/decant/testdata/bed"
)

// A stepCase is a build command and what becomes of it.
type stepCase struct {
	name  string
	build string
	args  []string
	code  int
	// stderr has to be in what decant says.
	stderr []string
	// page, if not "", is the index.html that is published.
	page string
}

const wellDone = `mkdir -p dist && echo ok > dist/index.html`

var stepCases = []stepCase{
	{name: "builds", build: wellDone, page: "ok\n"},
	{name: "sees only its own environment", page: "ok\n",
		build: wellDone + `; env | grep -q HOST_SECRET && exit 9; test "$HOME" = /root && test "$CI" = true && test "$K" = v`,
		args:  []string{"--env-build", "K=v"}},
	{name: "sees a secret as a file in memory", page: "ok\n",
		build: wellDone + `; grep -q hush /run/secrets/token`, args: []string{"--secret", "id=token,env=HOST_SECRET"}},
	{name: "sees no file of the host", page: "ok\n",
		build: wellDone + `; test ! -e "$HOST_DIR"; ! ls /proc/1/root/home /proc/1/cwd/ 2>/dev/null | grep -q app`},
	{name: "sees its own processes only", page: "ok\n",
		build: wellDone + `; test $(ls -d /proc/[0-9]* | wc -l) -lt 12`},
	{name: "fails", build: "echo last words; exit 3", code: 1,
		stderr: []string{"last words", "error: build: ", "exit code 3"}},
	{name: "is killed", build: "kill -9 $$", code: 1, stderr: []string{"exit code 137"}},
	{name: "hangs", build: "sleep 1000", args: []string{"--timeout", "1s"}, code: 1,
		stderr: []string{"longer than 1s", "hint: ", "--timeout"}},
	{name: "leaves a daemon", build: wellDone + "; (sleep 54321 &)", page: "ok\n"},
	{name: "makes no page", build: "mkdir -p dist; echo x > dist/app.js", code: 1,
		stderr: []string{"no index.html", "hint: "}},
	{name: "links its output out", build: "ln -s /etc dist", args: []string{"--output-dir", "dist"}, code: 1,
		stderr: []string{"leads out of the project"}},
	{name: "links a page out", build: wellDone + "; ln -s /etc/passwd dist/passwd", code: 1,
		stderr: []string{"passwd", "absolute path"}},
	{name: "has no network when told so", args: []string{"--network", "none"}, page: "ok\n",
		build: wellDone + `; test $(ls /sys/class/net 2>/dev/null | grep -vc '^lo$') = 0; ! wget -q -T 1 -O - http://$REGISTRY/v2/`},
	{name: "prints a lot", build: wellDone + "; yes | head -c 30000000", page: "ok\n", args: []string{"-q"}},
	{name: "locks its directories", build: wellDone + "; mkdir -p a/b && chmod 0 a/b a", page: "ok\n"},
	{name: "cannot mount", build: wellDone + "; ! mount -t tmpfs x /mnt 2>/dev/null", page: "ok\n"},
	{name: "cannot change the host's devices", page: "ok\n",
		build: wellDone + "; echo x > /dev/null && ! chmod 0666 /dev/null 2>/dev/null && ! touch -d @0 /dev/full 2>/dev/null"},
	{name: "does not see the package cache", build: wellDone + "; test ! -e /root/.npm", page: "ok\n"},
	{name: "runs in a bare chroot when told so", args: []string{"--isolation", "chroot"}, page: "ok\n",
		build: wellDone + `; test ! -e "$HOST_DIR"`},
	{name: "runs on this machine when told so", args: []string{"--isolation", "none"}, page: "ok\n",
		build: wellDone + `; (sleep 54321 &)`},
	{name: "has no secrets without isolation", args: []string{"--isolation", "none", "--secret", "id=x,env=HOST_SECRET"},
		build: wellDone, code: 64, stderr: []string{"hint: "}},
	{name: "names no shell's command", build: "nosuchcommand", code: 1, stderr: []string{"exit code 127"}},
}

// TestStepsAreHeld runs build commands that go wrong or try to get out, in a
// builder that has a shell and nothing else.
func TestStepsAreHeld(t *testing.T) {
	if testing.Short() {
		t.Skip("-short")
	}
	b := openBed(t)
	registry := needed[*bed.Registry](t)(b.Registry(t.Context()))
	defer registry.Stop()
	ref := registry.Host() + "/nginx:stable"
	if _, err := b.Push(t.Context(), needed[string](t)(b.Nginx(t.Context())), ref); err != nil {
		t.Fatal(err)
	}
	bin := buildDecant(t)
	openPath(t, bin)
	for _, u := range users(t, bin) {
		for _, c := range stepCases {
			t.Run(u.name+"/"+c.name, func(t *testing.T) { c.run(t, u, ref, registry.Host()) })
		}
	}
	if out, err := exec.Command("pgrep", "-f", "sleep 54321").Output(); err == nil {
		t.Errorf("a daemon is left: %s", out)
	}
}

func (c stepCase) run(t *testing.T, u user, ref, host string) {
	dir := filepath.Join(u.home, "app")
	out := filepath.Join(u.home, "out-"+strconv.FormatInt(time.Now().UnixNano(), 36))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	manifest := `{"name": "app", "scripts": {"build": "unused"}}`
	if err := os.WriteFile(filepath.Join(dir, "package.json"), []byte(manifest), 0o644); err != nil {
		t.Fatal(err)
	}
	args := append([]string{"build", dir, "--base", ref, "--builder", ref, "--install-command", "true",
		"--build-command", c.build, "--env-build", "REGISTRY=" + host, "--env-build", "HOST_DIR=" + u.home, "-o", "oci:" + out}, c.args...)
	cmd := exec.CommandContext(t.Context(), filepath.Join(u.bin, "decant"), args...)
	cmd.Dir = u.home
	cmd.Env = []string{"HOME=" + u.home, "PATH=/usr/bin:/bin", "TMPDIR=" + u.home, "HOST_SECRET=hush"}
	cmd.SysProcAttr = u.attr
	var stderr strings.Builder
	cmd.Stderr = &stderr
	stdout, err := cmd.Output()
	var exit *exec.ExitError
	code := 0
	if errors.As(err, &exit) {
		code = exit.ExitCode()
	}
	if code != c.code {
		t.Fatalf("exit code %d, want %d\n%s", code, c.code, stderr.String())
	}
	for _, want := range c.stderr {
		if !strings.Contains(stderr.String(), want) {
			t.Errorf("no %q in\n%s", want, stderr.String())
		}
	}
	if c.code != 0 {
		if _, err := os.Lstat(out); len(stdout) > 0 || !errors.Is(err, os.ErrNotExist) {
			t.Errorf("after a failure: stdout %q, output %v", stdout, err)
		}
	} else if page := siteOf(t, out)["index.html"]; page != c.page {
		t.Errorf("page %q, want %q", page, c.page)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("the project's directory has %v, %v", entries, err)
	}
	if left, _ := filepath.Glob(filepath.Join(u.home, ".cache/decant/temp/*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// TestInterruptEndsTheStep sends ^C while the build command runs.
func TestInterruptEndsTheStep(t *testing.T) {
	if testing.Short() {
		t.Skip("-short")
	}
	b := openBed(t)
	layout := needed[string](t)(b.Nginx(t.Context()))
	home := t.TempDir()
	dir := filepath.Join(home, "app")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "package.json"), []byte(`{"scripts":{"build":"x"}}`), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), filepath.Join(buildDecant(t), "decant"), "build", dir,
		"--base", "oci:"+layout, "--builder", "oci:"+layout, "--install-command", "true",
		"--build-command", "(sleep 54322 &) ; echo started; trap '' TERM INT; sleep 54322", "-o", "oci:"+filepath.Join(home, "out"))
	cmd.Env = []string{"HOME=" + home, "PATH=/usr/bin:/bin", "TMPDIR=" + home}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	seen := ""
	buf := make([]byte, 4096)
	for !strings.Contains(seen, "started\n") {
		n, err := stderr.Read(buf)
		seen += string(buf[:n])
		if err != nil {
			t.Fatalf("ended before the step: %s", seen)
		}
	}
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	for {
		n, err := stderr.Read(buf)
		seen += string(buf[:n])
		if err != nil {
			break
		}
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != exitCanceled {
		t.Errorf("%v, want exit code %d: %s", err, exitCanceled, seen)
	}
	if out, err := exec.Command("pgrep", "-f", "sleep 54322").Output(); err == nil {
		t.Errorf("a process is left: %s", out)
	}
	left, _ := filepath.Glob(filepath.Join(home, ".cache/decant/temp/*"))
	if _, err := os.Lstat(filepath.Join(home, "out")); len(left) > 0 || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
