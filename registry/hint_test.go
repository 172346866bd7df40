package registry

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/decant-build/decant/registry/registrytest"
)

// viaProxy is a client whose requests go through a proxy.
func viaProxy(t *testing.T, proxy string) *Client {
	t.Helper()
	c, _ := newClient(t, Options{})
	c.strict.(*http.Transport).Proxy = http.ProxyURL(&url.URL{
		Scheme: "http", Host: proxy, User: url.UserPassword("me", "secret"),
	})
	return c
}

func TestProxyIsBlamedForItsOwnFaults(t *testing.T) {
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	strict := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusProxyAuthRequired)
	}))
	defer strict.Close()
	for _, tt := range []struct{ name, proxy, message, hint string }{
		{"refuses", closed.Listener.Addr().String(), "proxyconnect",
			"the proxy " + closed.Listener.Addr().String() + " is not reached"},
		{"is unknown", "proxy.invalid:3128", "proxyconnect", "the proxy proxy.invalid is not reached"},
		{"wants a password", strict.Listener.Addr().String(), "407 Proxy Authentication Required",
			"check name and password in HTTPS_PROXY"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := viaProxy(t, tt.proxy).Pull(t.Context(), "registry.invalid/a:1")
			hint := hintOf(err)
			if err == nil || !strings.Contains(err.Error(), tt.message) ||
				!strings.Contains(hint, tt.hint) || !strings.Contains(hint, "add registry.invalid to NO_PROXY") {
				t.Errorf("error %v\nhint %q", err, hint)
			}
			if strings.Contains(hint+err.Error(), "secret") {
				t.Errorf("the proxy's password is shown: %v, %q", err, hint)
			}
		})
	}
}

// dialTo sends every connection to one address, so that a name that is not
// loopback can be served here.
func dialTo(c *Client, address string) {
	c.strict.(*http.Transport).DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}
}

// rawServer answers the first bytes of every connection with text, and hangs up.
func rawServer(t *testing.T, text string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Read(make([]byte, 1))
			_, _ = io.WriteString(conn, text)
			conn.Close()
		}
	}()
	return l.Addr().String()
}

func TestPlainHTTPOnANameHasAHint(t *testing.T) {
	plain := registrytest.New(t, registrytest.Options{})
	for name, address := range map[string]string{
		"http":              plain.Host,
		"no TLS, no header": rawServer(t, "<!DOCTYPE html>Bad request version"),
	} {
		t.Run(name, func(t *testing.T) {
			c, _ := newClient(t, Options{})
			dialTo(c, address)
			_, err := c.Pull(t.Context(), "registry.example.com/a:1")
			if err == nil || !strings.Contains(hintOf(err), "--insecure-registry registry.example.com") {
				t.Errorf("error %v\nhint %q", err, hintOf(err))
			}
		})
	}
}

// A server of plain http that hangs up on a TLS handshake is asked by http at
// once.
func TestPingFallsBackWithoutPatience(t *testing.T) {
	r := registrytest.New(t, registrytest.Options{})
	c, _ := newClient(t, Options{})
	push(t, c, ociImage(t, 10, 1), r.Host+"/a:1")
	var handshakes atomic.Int32
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go splice(conn, r.Host, &handshakes)
		}
	}()
	fresh, log := newClientKeepingEnv(t)
	pull(t, fresh, l.Addr().String()+"/a:1")
	if n := handshakes.Load(); n != 1 || log.has("trying again") {
		t.Errorf("%d handshakes, log %q", n, log.all)
	}
}

// splice hangs up on TLS, and passes everything else to a host.
func splice(conn net.Conn, host string, handshakes *atomic.Int32) {
	defer conn.Close()
	var first [1]byte
	if _, err := io.ReadFull(conn, first[:]); err != nil {
		return
	}
	if first[0] == 0x16 { // the record of a handshake
		handshakes.Add(1)
		return
	}
	to, err := net.Dial("tcp", host)
	if err != nil {
		return
	}
	defer to.Close()
	_, _ = to.Write(first[:])
	go func() { _, _ = io.Copy(conn, to) }()
	_, _ = io.Copy(to, conn)
}

func TestHostWithoutAnAPIIsNoRegistry(t *testing.T) {
	s := httptest.NewServer(http.NotFoundHandler())
	defer s.Close()
	c, _ := newClient(t, Options{})
	_, err := c.Pull(t.Context(), s.Listener.Addr().String()+"/a:1")
	if err == nil || !strings.Contains(hintOf(err), "not as a registry") {
		t.Errorf("error %v\nhint %q", err, hintOf(err))
	}
}

func TestCAFileIsTheUsersToFix(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{"/no/such/file": "/no/such/file: ", empty: "no PEM"} {
		_, err := New(Options{CAFile: file})
		var usage interface{ Usage() bool }
		if err == nil || !errors.As(err, &usage) || !usage.Usage() || hintOf(err) == "" ||
			!strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, hint %q", file, err, hintOf(err))
		}
	}
}

func TestBrokenDockerConfigIsNamed(t *testing.T) {
	c, _ := newClient(t, Options{})
	config := filepath.Join(os.Getenv("DOCKER_CONFIG"), "config.json")
	for text, place := range map[string]string{
		"{\n\"auths\": {\n  oops secret\n}}": config + ":3: ",
		"{\n\"auths\": 1}":                   config + ":2: ",
		"{":                                  config + ":1: ",
	} {
		writeJSON(t, config, text)
		if _, err := c.Logout(t.Context(), "registry.invalid"); err == nil || !strings.Contains(err.Error(), place) ||
			!strings.Contains(hintOf(err), "DOCKER_CONFIG") || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v, hint %q", text, err, hintOf(err))
		}
	}
}

func TestConfigThatCannotBeWrittenHasAHint(t *testing.T) {
	r := registrytest.New(t, registrytest.Options{User: "u", Password: "p"})
	c, _ := newClient(t, Options{})
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	t.Setenv("DOCKER_CONFIG", filepath.Join(file, "below"))
	err := c.Login(t.Context(), r.Host, "u", "p")
	if err == nil || !strings.Contains(hintOf(err), "DOCKER_CONFIG") {
		t.Errorf("%v, hint %q", err, hintOf(err))
	}
	t.Setenv("DOCKER_CONFIG", "")
	t.Setenv("HOME", "")
	err = c.Login(t.Context(), r.Host, "u", "p")
	if err == nil || !strings.Contains(err.Error(), "finding the docker config") ||
		!strings.Contains(hintOf(err), "DOCKER_CONFIG") {
		t.Errorf("%v, hint %q", err, hintOf(err))
	}
}
