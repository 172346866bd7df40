package bed

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// An Isolation is how far from this system a served image runs.
type Isolation string

// The isolations, best first.
const (
	// IsolationNamespace is a user and pid namespace of its own, where the user is
	// 101, with the image as root directory.
	IsolationNamespace Isolation = "namespace"
	// IsolationChroot is the image as root directory, for root where user
	// namespaces are forbidden.
	IsolationChroot Isolation = "chroot"
	// IsolationNone is the image's nginx, run by the image's dynamic linker, with
	// every path of its configuration rewritten. The entry point does not run.
	IsolationNone Isolation = "none"
)

// A Server is an image's own nginx, serving on 127.0.0.1.
type Server struct {
	process   *process
	port      int
	copy      string
	logFile   string
	isolation Isolation
}

// Serve runs the nginx of an unpacked image with the image's own configuration,
// through the image's entry point where it can, and returns when it answers. Port
// 0 is a free one. It ends with ctx, if not before.
//
// The image is not changed: nginx runs in a copy whose files are hard links. There
// every listen directive is rewritten to the port on 127.0.0.1, because a plain user
// may not listen on port 80, and without a network namespace (whose port 80 nobody
// could reach from here) neither may a user namespace. All else is as in the image
// under IsolationNamespace and IsolationChroot. Each isolation that this system
// forbids gives way to the next one.
func (b *Bed) Serve(ctx context.Context, rootfsDir string, port int) (*Server, error) {
	var all error
	for _, isolation := range isolations() {
		s, err := b.serve(ctx, rootfsDir, port, isolation)
		if err == nil {
			return s, nil
		}
		all = errors.Join(all, fmt.Errorf("serving %s (isolation %s): %w", rootfsDir, isolation, err))
		if !forbidden(err) {
			break
		}
	}
	return nil, all
}

func isolations() []Isolation {
	if os.Getuid() == 0 {
		return []Isolation{IsolationNamespace, IsolationChroot, IsolationNone}
	}
	return []Isolation{IsolationNamespace, IsolationNone}
}

func (b *Bed) serve(ctx context.Context, rootfsDir string, port int, isolation Isolation) (
	*Server, error) {
	if port == 0 {
		var err error
		if port, err = freePort(); err != nil {
			return nil, err
		}
	}
	// Beside the image, since hard links need the same file system.
	dir, err := os.MkdirTemp(filepath.Dir(rootfsDir), "serve-")
	if err != nil {
		return nil, err
	}
	s := &Server{port: port, copy: dir, isolation: isolation, logFile: filepath.Join(dir, "log")}
	if err := s.start(ctx, rootfsDir); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return s, nil
}

// freePort finds a port that nobody uses at the moment.
func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("finding a free port: %w", err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

func (s *Server) start(ctx context.Context, rootfsDir string) error {
	root := filepath.Join(s.copy, "root")
	if err := linkTree(rootfsDir, root); err != nil {
		return err
	}
	conf := filepath.Join(root, "etc/nginx")
	if err := rewriteConf(conf, relocate(s.port, root, s.isolation)); err != nil {
		return err
	}
	cmd, err := s.command(ctx, root)
	if err != nil {
		return err
	}
	// Appended, for nginx may open it again as /dev/stderr.
	log, err := os.OpenFile(s.logFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	if s.process, err = startProcess(cmd); err != nil {
		return err
	}
	if err := s.wait(ctx); err != nil {
		s.process.stop()
		return fmt.Errorf("%w: %s", err, strings.TrimSpace(s.Log()))
	}
	return nil
}

// command returns what runs nginx in root.
func (s *Server) command(ctx context.Context, root string) (*exec.Cmd, error) {
	if s.isolation == IsolationNone {
		return linkedCommand(ctx, root)
	}
	args := []string{"nginx", "-g", "daemon off;"}
	if _, err := os.Stat(filepath.Join(root, "docker-entrypoint.sh")); err == nil {
		args = append([]string{"/docker-entrypoint.sh"}, args...)
	} else {
		args[0] = "/usr/sbin/nginx"
	}
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	// The path is one of the new root directory.
	cmd.Path, cmd.Err = args[0], nil
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	return cmd, confine(cmd, root, s.isolation)
}

// linkedCommand runs nginx by the image's dynamic linker.
func linkedCommand(ctx context.Context, root string) (*exec.Cmd, error) {
	lib, linker, err := libraries(runtime.GOARCH)
	if err != nil {
		return nil, err
	}
	lib = filepath.Join(root, "usr/lib", lib)
	return exec.CommandContext(ctx, filepath.Join(lib, linker), "--library-path", lib,
		filepath.Join(root, "usr/sbin/nginx"), "-p", root, "-c", filepath.Join(root, "etc/nginx/nginx.conf"),
		"-e", filepath.Join(root, "early.log"), "-g", "daemon off;"), nil
}

// wait returns when the server answers.
func (s *Server) wait(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		if conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", s.address()); err == nil {
			return conn.Close()
		}
		select {
		case <-tick.C:
		case <-s.process.done:
			return fmt.Errorf("nginx ended: %w", s.process.err)
		case <-ctx.Done():
			return fmt.Errorf("waiting for nginx: %w", ctx.Err())
		}
	}
}

func (s *Server) address() string { return fmt.Sprintf("127.0.0.1:%d", s.port) }

// URL is where the site is, without a slash at the end.
func (s *Server) URL() string { return "http://" + s.address() }

// Isolation is how nginx runs.
func (s *Server) Isolation() Isolation { return s.isolation }

// Log is what the entry point and nginx have printed or logged so far.
func (s *Server) Log() string {
	var all strings.Builder
	// nginx makes the logs' targets, since the root has no /dev. What is a link
	// there may lead to a stream of this process.
	for _, name := range []string{"log", "root/dev/stdout", "root/dev/stderr", "root/early.log"} {
		name = filepath.Join(s.copy, name)
		if info, err := os.Lstat(name); err != nil || !info.Mode().IsRegular() {
			continue
		}
		if f, err := os.Open(name); err == nil {
			_, _ = io.Copy(&all, io.LimitReader(f, 1<<20)) // what cannot be read is not in it
			f.Close()
		}
	}
	return all.String()
}

// Get fetches a path of the site without following redirects.
func (s *Server) Get(ctx context.Context, path string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL()+path, nil)
	if err != nil {
		return nil, err
	}
	return http.DefaultTransport.RoundTrip(req)
}

// Stop ends nginx and removes its copy of the image.
func (s *Server) Stop() error {
	s.process.stop()
	return os.RemoveAll(s.copy)
}
