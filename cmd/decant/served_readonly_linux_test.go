package main

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/decant-build/decant/testdata/bed"
)

// anyID is a user that no image knows, as OpenShift chooses them, in group 0.
const anyID = "1000660042"

// TestServedWithAReadOnlyRoot starts images as strict clusters do: the root cannot be
// written, /tmp is a tmpfs, the user is one that the image does not know, and has no
// capabilities.
func TestServedWithAReadOnlyRoot(t *testing.T) {
	w := newServeWorld(t)
	defer w.close(t)
	for _, base := range []string{"official", "unprivileged"} {
		t.Run(base, func(t *testing.T) {
			port := freePort(t)
			image := w.build(t, w.site(t, "shop-1", nil), base,
				"--user", "101", "--port", strconv.Itoa(port), "--csp", "auto", "--runtime-env", "PUBLIC_*")
			s := startReadOnly(t, unpackImage(t, image), port, "PUBLIC_NAME="+hostile)
			defer s.stop(t)
			if !s.up() {
				s.stop(t)
				t.Fatalf("nobody answers: %s", s.log.String())
			}
			tab := w.openTab(t)
			load(t, tab, s.url+"/orders/42")
			if got := shown(t, tab); got != "release 1: order 42: hello "+hostile {
				t.Errorf("the page shows %q", got)
			}
			if got, want := s.identity(t), anyID+" 0"; got != want {
				t.Errorf("nginx runs as %s, not as %s", got, want)
			}
		})
	}
}

// freePort is a port that nobody listens on at the moment.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// unpackImage pulls an image with another client, and lays out its files.
func unpackImage(t *testing.T, image string) string {
	t.Helper()
	ref, err := name.ParseReference(image, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	img, err := remote.Image(ref, remote.WithContext(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(t.TempDir(), "root")
	for _, dir := range []string{"dev", "proc"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := bed.UnpackImage(t.Context(), img, root); err != nil {
		t.Fatal(err)
	}
	return root
}

// strictContainer mounts what such a container has, and becomes its user in a user
// namespace of its own, where only that one exists. $1 is the root, and the rest the
// command. Where there is a network of its own it may have any port, as in Docker's.
const strictContainer = `set -eu
root=$1
shift
echo 0 2>/dev/null >/proc/sys/net/ipv4/ip_unprivileged_port_start || true
mount --bind "$root" "$root"
mount --rbind /dev "$root/dev"
mount --rbind /proc "$root/proc"
mount -t tmpfs tmpfs "$root/tmp"
mount -o remount,bind,ro "$root"
exec unshare --user --map-user=` + anyID + ` --map-group=0 --root="$root" /docker-entrypoint.sh "$@"`

// strictCommand runs a command in such a container. flags are unshare's.
func strictCommand(t *testing.T, root string, flags, command []string) *exec.Cmd {
	t.Helper()
	try := exec.CommandContext(t.Context(), "unshare", "--user", "--map-root-user", "--mount", "true")
	if err := try.Run(); err != nil {
		missing(t, "user namespaces, and unshare of util-linux: "+err.Error())
	}
	args := slices.Concat([]string{"--user", "--map-root-user", "--mount"}, flags,
		[]string{"sh", "-c", strictContainer, "sh", root}, command)
	cmd := exec.CommandContext(t.Context(), "unshare", args...)
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	return cmd
}

// readOnlyFault is what nginx of an image says that does not start in such a
// container; "" is nothing.
func readOnlyFault(t *testing.T, image string) string {
	t.Helper()
	cmd := strictCommand(t, unpackImage(t, image), []string{"--net"}, []string{"nginx", "-t"})
	out, err := cmd.CombinedOutput()
	if err == nil {
		return ""
	}
	return string(out)
}

// strict is a running container of that kind.
type strict struct {
	url string
	cmd *exec.Cmd
	log *strings.Builder
	end chan struct{} // closed when it has ended
}

// startReadOnly starts the image's entrypoint; it may end at once.
func startReadOnly(t *testing.T, root string, port int, env ...string) *strict {
	t.Helper()
	s := &strict{url: fmt.Sprintf("http://127.0.0.1:%d", port), log: &strings.Builder{},
		end: make(chan struct{})}
	s.cmd = strictCommand(t, root, nil, []string{"nginx", "-g", "daemon off;"})
	s.cmd.Env = append(s.cmd.Env, env...)
	s.cmd.Stdout, s.cmd.Stderr = s.log, s.log
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	s.cmd.WaitDelay = 5 * time.Second
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(s.end)
		_ = s.cmd.Wait() // it is killed, or its log says why it ended
	}()
	return s
}

// up waits until it answers, or has ended.
func (s *strict) up() bool {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for range 2000 {
		if resp, err := http.Get(s.url + "/"); err == nil {
			resp.Body.Close()
			return true
		}
		select {
		case <-s.end:
			return false
		case <-tick.C:
		}
	}
	return false
}

// identity is the user and group of nginx in its container, and what it is capable of.
func (s *strict) identity(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		if caps, found := strings.CutPrefix(line, "CapEff:"); found && strings.Trim(caps, "0\t\n") != "" {
			t.Errorf("nginx is capable of %s", caps)
		}
	}
	id := func(file string) string {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", s.cmd.Process.Pid, file))
		if err != nil {
			t.Fatal(err)
		}
		return strings.Fields(string(data))[0]
	}
	return id("uid_map") + " " + id("gid_map")
}

// stop kills nginx with its workers; a second time it does nothing.
func (s *strict) stop(t *testing.T) {
	t.Helper()
	select {
	case <-s.end:
		return
	default:
	}
	err := syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL)
	if err != nil && !errors.Is(err, syscall.ESRCH) {
		t.Error(err)
	}
	<-s.end
}
