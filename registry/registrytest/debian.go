package registrytest

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// DebianOptions says how to run Debian's docker-registry.
type DebianOptions struct {
	// Program is its path; "" looks for docker-registry on the PATH.
	Program string
	// TLS serves https with an authority of its own.
	TLS bool
	// Login wants DebianUser and DebianPassword, by Basic authentication.
	Login bool
}

// The account of DebianOptions.Login.
const (
	DebianUser     = "decant"
	DebianPassword = "secret"
	debianHash     = "$2b$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW" // bcrypt
)

// DebianRegistry is a running docker-registry.
type DebianRegistry struct {
	Host   string // as in references
	CAFile string // of TLS
}

// startTimeout is how long the program may take to listen.
const startTimeout = 15 * time.Second

// Debian runs docker-registry on a free port of loopback, with empty storage, until
// the test ends. Without the program the test is skipped; with
// DECANT_TEST_REQUIRE_ALL=1 it fails.
func Debian(t testing.TB, o DebianOptions) *DebianRegistry {
	t.Helper()
	program := o.Program
	if program == "" {
		program = "docker-registry"
	}
	path, err := exec.LookPath(program)
	if err != nil {
		missing(t, "docker-registry (package docker-registry) is not installed")
	}
	dir := t.TempDir()
	r := &DebianRegistry{}
	if o.TLS {
		r.CAFile = filepath.Join(dir, "ca.pem")
		writeCertificates(t, dir)
	}
	conf := filepath.Join(dir, "config.yml")
	writeFile(t, conf, debianConfig(dir, o))
	if o.Login {
		writeFile(t, filepath.Join(dir, "htpasswd"), DebianUser+":"+debianHash+"\n")
	}
	r.Host = serve(t, path, conf)
	return r
}

// missing skips a test, or fails it where nothing may be missing.
func missing(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("DECANT_TEST_REQUIRE_ALL") == "1" {
		t.Fatal(what)
	}
	t.Skip(what)
}

func debianConfig(dir string, o DebianOptions) string {
	var b strings.Builder
	fmt.Fprintf(&b, `version: 0.1
log: {level: info}
storage:
  filesystem: {rootdirectory: %q}
  delete: {enabled: true}
  maintenance: {uploadpurging: {enabled: false}}
`, filepath.Join(dir, "storage"))
	if o.Login {
		fmt.Fprintf(&b, "auth: {htpasswd: {realm: test, path: %q}}\n", filepath.Join(dir, "htpasswd"))
	}
	b.WriteString("http:\n  addr: 127.0.0.1:0\n  secret: test\n")
	if o.TLS {
		fmt.Fprintf(&b, "  tls: {certificate: %q, key: %q}\n",
			filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"))
	}
	return b.String()
}

// serve starts the program and returns the address that its log names.
func serve(t testing.TB, program, conf string) string {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, program, "serve", conf)
	// Variables called REGISTRY_… would change the configuration.
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "REGISTRY_") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	log, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	host := make(chan string, 1)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		findHost(log, host)
		_ = cmd.Wait() // it is killed
	}()
	t.Cleanup(func() { cancel(); <-ended })
	select {
	case h := <-host:
		return h
	case <-ended:
		t.Fatal("docker-registry ended before it listened")
	case <-time.After(startTimeout):
		t.Fatalf("docker-registry does not listen after %s", startTimeout)
	}
	return ""
}

var listening = regexp.MustCompile(`listening on ([0-9.:]+)`)

// findHost reads the log to its end, as a full pipe would stop the program.
func findHost(log io.Reader, host chan<- string) {
	lines := bufio.NewReader(log)
	for {
		line, _, err := lines.ReadLine()
		if m := listening.FindSubmatch(line); m != nil {
			select {
			case host <- string(m[1]):
			default:
			}
		}
		if err != nil {
			return
		}
	}
}

// writeCertificates makes an authority, ca.pem, and what it signs for loopback:
// cert.pem and key.pem.
func writeCertificates(t testing.TB, dir string) {
	t.Helper()
	caKey, ca := newKey(t), &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	leafKey, leaf := newKey(t), &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "localhost"},
		NotBefore: ca.NotBefore, NotAfter: ca.NotAfter,
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, &caKey.PublicKey, caKey)
	if err != nil {
		t.Fatal(err)
	}
	leafDER, err := x509.CreateCertificate(rand.Reader, leaf, ca, &leafKey.PublicKey, caKey)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(leafKey)
	if err != nil {
		t.Fatal(err)
	}
	writePEM(t, filepath.Join(dir, "ca.pem"), "CERTIFICATE", caDER)
	writePEM(t, filepath.Join(dir, "cert.pem"), "CERTIFICATE", leafDER)
	writePEM(t, filepath.Join(dir, "key.pem"), "EC PRIVATE KEY", keyDER)
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func writePEM(t testing.TB, path, kind string, der []byte) {
	t.Helper()
	writeFile(t, path, string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})))
}

func writeFile(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
