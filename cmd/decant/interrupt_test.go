package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/decant-build/decant/registry/registrytest"
)

// TestInterruptLeavesNothing sends ^C while decant waits for the registry, at
// each stage of a build: it exits with 130, the tag has not moved, and neither a
// temporary file nor an output is there.
func TestInterruptLeavesNothing(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("windows has no SIGINT to send")
	}
	bin := buildDecant(t)
	for _, stage := range []struct{ name, method, path string }{
		{"base", "GET", "/nginx/manifests/"},
		{"session", "POST", "/web/blobs/uploads/"},
		{"blob", "PUT", "/web/blobs/uploads/"},
		{"tag", "PUT", "/web/manifests/1"},
	} {
		t.Run(stage.name, func(t *testing.T) {
			reg := registrytest.New(t, registrytest.Options{})
			pushBase(t, reg.Host+"/nginx:stable")
			reg.Fail(registrytest.Fault{Method: stage.method, Path: stage.path, Times: -1, Stall: true})
			reg.Reset()
			interruptBuild(t, bin, reg, func() bool { return reg.Count(stage.method, stage.path) > 0 })
			if tag := reg.Tag("web", "1"); tag != "" {
				t.Errorf("the tag is %s", tag)
			}
		})
	}
}

// interruptBuild runs a build until reached, interrupts it, and looks at what
// is left.
func interruptBuild(t *testing.T, bin string, reg *registrytest.Registry, reached func() bool) {
	dir := t.TempDir()
	for _, sub := range []string{"dist", "tmp"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "dist/index.html"), []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(bin, "decant"), "build", "dist",
		"--base", reg.Host+"/nginx:stable", "-t", reg.Host+"/web:1")
	cmd.Dir = dir
	cmd.Env = []string{"HOME=" + dir, "TMPDIR=" + filepath.Join(dir, "tmp")}
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(20 * time.Second)
	for !reached() {
		if time.Now().After(deadline) {
			_ = cmd.Process.Kill()
			t.Fatalf("the stage was not reached: %s", stderr.String())
		}
		time.Sleep(5 * time.Millisecond)
	}
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != exitCanceled {
		t.Errorf("%v, want exit code %d\n%s", err, exitCanceled, stderr.String())
	}
	if stdout.Len() > 0 {
		t.Errorf("standard output has %q", stdout.String())
	}
	if !strings.HasSuffix(stderr.String(), "decant: interrupted; nothing was published\n") {
		t.Errorf("standard error ends in %q", stderr.String())
	}
	left, err := filepath.Glob(filepath.Join(dir, "tmp", "*"))
	spools, _ := filepath.Glob(filepath.Join(dir, ".cache", "decant", "temp", "*"))
	if err != nil || len(left)+len(spools) > 0 {
		t.Errorf("left behind: %v %v %v", left, spools, err)
	}
}
