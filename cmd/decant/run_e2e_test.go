package main

import (
	"bufio"
	"io"
	"net/http"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/decant-build/decant/testdata/bed"
)

// TestRunServesWithTheImagesOwnNginx builds onto the official image's shape and
// onto the unprivileged one's, and serves both with decant run, as the test's
// user and as a plain one, until an interrupt.
func TestRunServesWithTheImagesOwnNginx(t *testing.T) {
	if testing.Short() {
		t.Skip("-short")
	}
	b := openBed(t)
	registry := needed[*bed.Registry](t)(b.Registry(t.Context()))
	defer registry.Stop()
	bases := map[string]string{
		"official":     needed[string](t)(b.Nginx(t.Context())),
		"unprivileged": needed[string](t)(b.NginxUnprivileged(t.Context())),
	}
	bin := buildDecant(t)
	openPath(t, bin)
	for name, layout := range bases {
		ref := registry.Host() + "/" + name
		if _, err := b.Push(t.Context(), layout, ref); err != nil {
			t.Fatal(err)
		}
		for _, u := range users(t, bin) {
			t.Run(name+"/"+u.name, func(t *testing.T) {
				writeSite(t, u, filepath.Join(u.home, "dist"), "<!doctype html><title>served</title>")
				image := u.run(t, "build", "dist", "--base", ref, "-t", registry.Host()+"/web:"+u.name, "-q")
				serveOnce(t, u, image)
			})
		}
	}
}

// serveOnce runs decant run, asks for a page, and interrupts it.
func serveOnce(t *testing.T, u user, image string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), filepath.Join(u.bin, "decant"), "run", image, "--port", "0")
	cmd.Dir = u.home
	cmd.Env = []string{"HOME=" + u.home, "PATH=/usr/bin:/bin", "TMPDIR=" + u.home}
	cmd.SysProcAttr = u.attr
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	log := bufio.NewReader(stderr)
	url := ""
	for url == "" {
		line, err := log.ReadString('\n')
		if m := regexp.MustCompile(`on (http://\S+) until`).FindStringSubmatch(line); m != nil {
			url = m[1]
		} else if err != nil {
			_ = cmd.Wait()
			t.Fatalf("decant run ended: %s", line)
		}
	}
	rest := make(chan string, 1)
	go func() {
		all, _ := io.ReadAll(log)
		rest <- string(all)
	}()
	page := poll(t, url)
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	output := <-rest
	if err := cmd.Wait(); err != nil {
		t.Errorf("after an interrupt: %v\n%s", err, output)
	}
	if page.status != http.StatusOK || !strings.Contains(page.body, "<title>served</title>") {
		t.Errorf("served %+v\n%s", page, output)
	}
	if left, _ := filepath.Glob(filepath.Join(u.home, "decant-run-*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// poll asks until the server is up.
func poll(t *testing.T, url string) answer {
	t.Helper()
	for range 100 {
		resp, err := http.Get(url)
		if err == nil {
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			if err != nil {
				t.Fatal(err)
			}
			return answer{status: resp.StatusCode, body: string(body)}
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Errorf("nobody answers on %s", url)
	return answer{}
}
