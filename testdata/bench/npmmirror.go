package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"time"
)

// npmUpstream is what the mirror mirrors.
const npmUpstream = "https://registry.npmjs.org"

// Bounds of what the mirror takes in.
const (
	maxNpmRequest  = 16 << 20
	maxNpmResponse = 256 << 20
)

// An npmMirror answers as the npm registry does, and asks it each thing once: the
// registry's speed is nobody's merit. It listens on loopback, and keeps answers in
// files: the peak memory of a command counts from that of the process that starts
// it, which is this one.
type npmMirror struct {
	dir    string
	url    string
	server *http.Server
	client http.Client

	mu    sync.Mutex
	known map[string]npmAnswer
}

type npmAnswer struct{ contentType, file string }

// startNpmMirror starts a mirror that keeps what it has in dir.
func startNpmMirror(dir string) (*npmMirror, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("starting a mirror of the npm registry: %w", err)
	}
	m := &npmMirror{dir: dir, url: "http://" + listener.Addr().String() + "/",
		known: map[string]npmAnswer{}, client: http.Client{Timeout: time.Minute}}
	m.server = &http.Server{Handler: m, ReadHeaderTimeout: time.Minute}
	go m.server.Serve(listener) // ends with stop
	return m, nil
}

func (m *npmMirror) stop() error { return m.server.Close() }

// ServeHTTP answers with what is known, or asks. Requests with a body, those of
// npm audit, are known by what they contain.
func (m *npmMirror) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxNpmRequest))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	key := fmt.Sprintf("%s %s %q %x", r.Method, r.URL.RequestURI(), r.Header.Get("Accept"),
		sha256.Sum256(body))
	m.mu.Lock()
	answer, ok := m.known[key]
	m.mu.Unlock()
	if !ok {
		if answer, err = m.ask(r, body); err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		m.mu.Lock()
		m.known[key] = answer
		m.mu.Unlock()
	}
	f, err := os.Open(answer.file)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer f.Close()
	w.Header().Set("Content-Type", answer.contentType)
	http.ServeContent(w, r, "", time.Time{}, f)
}

// ask passes a request on to the registry, and keeps the answer if it is one.
func (m *npmMirror) ask(r *http.Request, body []byte) (npmAnswer, error) {
	// Not r's context: what is half read is lost when npm gives up and asks again.
	req, err := http.NewRequestWithContext(context.WithoutCancel(r.Context()), r.Method,
		npmUpstream+r.URL.RequestURI(), bytes.NewReader(body))
	if err != nil {
		return npmAnswer{}, err
	}
	for _, h := range []string{"Accept", "Content-Type", "Content-Encoding"} {
		if v := r.Header.Get(h); v != "" {
			req.Header.Set(h, v)
		}
	}
	resp, err := m.client.Do(req)
	if err != nil {
		return npmAnswer{}, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return npmAnswer{}, fmt.Errorf("the npm registry answers %s", resp.Status)
	}
	file, err := m.keep(resp.Body)
	return npmAnswer{resp.Header.Get("Content-Type"), file}, err
}

// keep writes an answer to a file.
func (m *npmMirror) keep(r io.Reader) (file string, err error) {
	f, err := os.CreateTemp(m.dir, "npm-")
	if err != nil {
		return "", err
	}
	defer func() {
		if e := f.Close(); err == nil {
			err = e
		}
	}()
	n, err := io.Copy(f, io.LimitReader(r, maxNpmResponse+1))
	if err == nil && n > maxNpmResponse {
		err = fmt.Errorf("an answer of the npm registry has more than %d bytes", int64(maxNpmResponse))
	}
	return f.Name(), err
}
