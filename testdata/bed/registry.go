package bed

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// startTimeout is how long a server may take to answer.
const startTimeout = 15 * time.Second

// A Registry is Debian's docker-registry, running on loopback over http, without
// authentication and with deletion allowed.
type Registry struct {
	process  *process
	host     string
	own      string // temporary directory to remove
	requests atomic.Int64
	readers  sync.WaitGroup
}

// registryConf has the storage directory as %[1]q.
const registryConf = `version: 0.1
log:
  level: info
storage:
  filesystem:
    rootdirectory: %[1]q
  delete:
    enabled: true
  maintenance:
    uploadpurging:
      enabled: false
http:
  addr: 127.0.0.1:0
  secret: bed
`

// Registry starts a registry on a free port of 127.0.0.1 with empty storage, which
// Stop removes, and returns when it answers. It ends with ctx, if not before.
func (b *Bed) Registry(ctx context.Context) (*Registry, error) {
	return b.RegistryAt(ctx, "")
}

// RegistryAt is Registry with a storage directory that outlives it.
func (b *Bed) RegistryAt(ctx context.Context, storage string) (*Registry, error) {
	tool, err := b.Tool(ctx, "docker-registry")
	if err != nil {
		return nil, err
	}
	own, err := os.MkdirTemp("", "decant-bed-registry-")
	if err != nil {
		return nil, fmt.Errorf("starting a registry: %w", err)
	}
	if storage == "" {
		storage = filepath.Join(own, "storage")
	}
	r := &Registry{own: own}
	if err := r.start(ctx, tool, storage); err != nil {
		return nil, errors.Join(fmt.Errorf("starting a registry: %w", err), os.RemoveAll(own))
	}
	return r, nil
}

func (r *Registry) start(ctx context.Context, tool *Tool, storage string) error {
	conf := filepath.Join(r.own, "config.yml")
	if err := os.WriteFile(conf, fmt.Appendf(nil, registryConf, storage), 0o644); err != nil {
		return err
	}
	cmd := tool.Command(ctx, "serve", conf)
	// Variables called REGISTRY_… would change the configuration.
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "REGISTRY_") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	access, accessEnd, err := os.Pipe()
	if err != nil {
		return err
	}
	log, logEnd, err := os.Pipe()
	if err != nil {
		return errors.Join(err, access.Close(), accessEnd.Close())
	}
	cmd.Stdout, cmd.Stderr = accessEnd, logEnd
	r.process, err = startProcess(cmd)
	accessEnd.Close()
	logEnd.Close()
	if err != nil {
		access.Close()
		log.Close()
		return err
	}
	host := make(chan string, 1)
	r.readers.Go(func() { defer access.Close(); r.countRequests(access) })
	r.readers.Go(func() { defer log.Close(); findHost(log, host) })
	select {
	case r.host = <-host:
		return nil
	case <-r.process.done:
		err = fmt.Errorf("docker-registry ended: %w", r.process.err)
	case <-time.After(startTimeout):
		err = fmt.Errorf("docker-registry does not listen after %s", startTimeout)
	}
	r.process.stop()
	r.readers.Wait()
	return err
}

// countRequests counts the lines of the access log.
func (r *Registry) countRequests(log io.Reader) {
	lines := bufio.NewReader(log)
	for {
		_, more, err := lines.ReadLine()
		if err != nil {
			return
		}
		if !more {
			r.requests.Add(1)
		}
	}
}

// findHost sends the address that the registry says it listens on, and reads on:
// a full pipe would stop the registry.
func findHost(log io.Reader, host chan<- string) {
	listening := regexp.MustCompile(`msg="listening on ([0-9.:]+)"`)
	lines := bufio.NewReader(log)
	for {
		line, _, err := lines.ReadLine()
		if err != nil {
			return
		}
		if m := listening.FindSubmatch(line); m != nil {
			select {
			case host <- string(m[1]):
			default:
			}
		}
	}
}

// Host is the registry's name in references, such as "127.0.0.1:40123".
func (r *Registry) Host() string { return r.host }

// Requests is the number of requests that the registry has answered. A request
// counts when it is logged, which can be a moment after its client has the answer.
func (r *Registry) Requests() int { return int(r.requests.Load()) }

// Stop ends the registry and removes what it kept, but for a storage directory
// that the caller named.
func (r *Registry) Stop() error {
	r.process.stop()
	r.readers.Wait()
	return os.RemoveAll(r.own)
}
