package registry

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Error reports a request that a registry refused, or that did not reach it.
type Error struct {
	// Op is what was going on: a gerund such as "pulling" or "pushing".
	Op string
	// Registry is the host; Ref is what the request was about, and may be "".
	Registry, Ref string
	// Status is the answer's status, 0 if there was none.
	Status int
	// Err says what the registry said, or what happened to the connection.
	Err error

	codes      []string      // the registry's, such as "MANIFEST_UNKNOWN"
	html       bool          // the answer was a web page
	push       bool          // the request was to write
	credential string        // where the credential came from; "" is none
	wait       time.Duration // what Retry-After said
	fix        string        // a better hint than the status gives
}

func (e *Error) Error() string {
	what := e.Op
	switch {
	case e.Ref == "":
		what += " " + e.Registry
	case !strings.Contains(e.Ref, e.Registry):
		what += " " + e.Ref + " at " + e.Registry
	default:
		what += " " + e.Ref
	}
	if e.Status == 0 {
		return fmt.Sprintf("%s: %v", what, e.Err)
	}
	status := strings.TrimSpace(fmt.Sprintf("%d %s", e.Status, http.StatusText(e.Status)))
	if e.Err == nil {
		return fmt.Sprintf("%s: %s", what, status)
	}
	return fmt.Sprintf("%s: %s: %v", what, status, e.Err)
}

// Unwrap returns Err.
func (e *Error) Unwrap() error { return e.Err }

// Hint says what can be done about it, "" if nothing is known.
func (e *Error) Hint() string {
	if e.fix != "" {
		return e.fix
	}
	if e.html {
		return "a web page answered, not a registry: check the host " + e.Registry +
			", and whether a proxy or a login page stands before it"
	}
	var inner interface{ Hint() string }
	switch {
	case errors.As(e.Err, &inner) && inner.Hint() != "":
		return inner.Hint()
	case e.Status == 0:
		return e.connectionHint()
	case e.outOfRoom():
		return e.Registry + " has no room left for this repository: free some, or have the quota raised"
	case e.Status == http.StatusUnauthorized || slices.Contains(e.codes, "UNAUTHORIZED"):
		return e.loginHint("it was refused")
	case e.Status == http.StatusForbidden:
		return e.loginHint("it may not " + e.verb() + " here")
	case e.Status == http.StatusNotFound && e.push:
		return "the repository may have to be created first; check its name"
	case e.Status == http.StatusNotFound:
		return "check the name and the tag; a private repository may need: decant login " + e.publicHost()
	case e.Status == http.StatusTooManyRequests && e.credential == "":
		return e.waitHint() + "a login may have a higher limit: decant login " + e.publicHost()
	case e.Status == http.StatusTooManyRequests:
		return e.waitHint() + "the account has reached its rate limit"
	case e.Status == http.StatusRequestEntityTooLarge:
		return "a proxy before the registry limits the size of requests: raise it " +
			"(nginx: client_max_body_size 0)"
	case temporaryStatus(e.Status):
		return e.waitHint() + "the registry has a problem of its own: try again later"
	}
	return ""
}

// outOfRoom tells a repository that is full. The word alone proves nothing: it
// also stands in a rate limit's text, or in a repository's name.
func (e *Error) outOfRoom() bool {
	switch e.Status {
	case http.StatusInsufficientStorage:
		return true
	case http.StatusForbidden, http.StatusRequestEntityTooLarge:
		return e.mentions("quota")
	}
	return false
}

func (e *Error) verb() string {
	if e.push {
		return "push"
	}
	return "pull"
}

func (e *Error) waitHint() string {
	if e.wait == 0 {
		return ""
	}
	return fmt.Sprintf("the registry asks to wait %s; ", e.wait)
}

func (e *Error) loginHint(what string) string {
	if e.credential == "" {
		return "no credential was found for it: decant login " + e.publicHost()
	}
	return fmt.Sprintf("the credential came from %s, and %s; to replace it: decant login %s",
		e.credential, what, e.publicHost())
}

// publicHost is the host as people know it.
func (e *Error) publicHost() string {
	if e.Registry == "index.docker.io" {
		return "docker.io"
	}
	return e.Registry
}

func (e *Error) mentions(word string) bool {
	return e.Err != nil && strings.Contains(strings.ToLower(e.Err.Error()), word)
}

func (e *Error) connectionHint() string {
	var dns *net.DNSError
	var timeout net.Error
	var record tls.RecordHeaderError
	if hint := proxyHint(e.Err, e.publicHost()); hint != "" {
		return hint
	}
	switch {
	case badCertificate(e.Err):
		return "if you trust this registry, add its authority with --ca-file FILE, " +
			"or use --insecure-registry " + e.Registry
	case errors.Is(e.Err, http.ErrSchemeMismatch):
		return fmt.Sprintf("%s speaks plain http; to allow that: --insecure-registry %[1]s", e.Registry)
	case errors.As(e.Err, &record):
		return fmt.Sprintf("%s does not speak https; if it is a registry that speaks plain http: "+
			"--insecure-registry %[1]s", e.Registry)
	case errors.As(e.Err, &dns):
		return "check the spelling of " + e.Registry + ", and the network's name server"
	case errors.Is(e.Err, syscall.ECONNREFUSED):
		return "nothing listens at " + e.Registry + ": check host and port, and that the registry runs"
	case errors.Is(e.Err, errStalled), errors.As(e.Err, &timeout) && timeout.Timeout():
		return e.Registry + " does not answer: check the network, a firewall, and HTTPS_PROXY"
	}
	return ""
}

// proxyHint explains a proxy that is not reached, or that reaches nobody; "" if
// that is not the fault.
func proxyHint(err error, registry string) string {
	const fix = "check HTTPS_PROXY and HTTP_PROXY, or add %s to NO_PROXY"
	var op *net.OpError
	var dns *net.DNSError
	if !errors.As(err, &op) || op.Op != "proxyconnect" {
		return ""
	}
	proxy := "the proxy"
	if inner := (*net.OpError)(nil); errors.As(op.Err, &inner) && inner.Addr != nil {
		proxy += " " + inner.Addr.String()
	} else if errors.As(op.Err, &dns) {
		proxy += " " + dns.Name
	}
	return fmt.Sprintf("%s is not reached, so that nothing is known of the registry: "+fix, proxy, registry)
}

// proxyError reports a proxy that answers, but does not connect.
type proxyError struct {
	proxy  string // its host
	target string // host and port
	status string
}

func (e *proxyError) Error() string {
	return fmt.Sprintf("proxy %s does not connect to %s: %q", e.proxy, e.target, clip(e.status))
}

// Hint says where the proxy comes from.
func (e *proxyError) Hint() string {
	host, _, err := net.SplitHostPort(e.target)
	if err != nil {
		host = e.target
	}
	return "check name and password in HTTPS_PROXY, and that the proxy allows the host; or add " +
		host + " to NO_PROXY"
}

// speaksPlain tells whether the host answered a TLS handshake with something else.
func speaksPlain(err error) bool {
	var record tls.RecordHeaderError
	return errors.Is(err, http.ErrSchemeMismatch) || errors.As(err, &record)
}

// badCertificate tells whether the host speaks TLS, but cannot be trusted.
func badCertificate(err error) bool {
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	var verify *tls.CertificateVerificationError
	return errors.As(err, &unknown) || errors.As(err, &name) || errors.As(err, &invalid) ||
		errors.As(err, &verify)
}

// maxErrorBody bounds what is read of an answer that is an error.
const maxErrorBody = 64 << 10

// errorBody is the form of the distribution protocol, and of token servers.
type errorBody struct {
	Errors []struct {
		Code    string `json:"code"`
		Message string `json:"message"`
		Detail  any    `json:"detail"`
	} `json:"errors"`
	Details string `json:"details"`
}

// read fills in what a response says. It consumes the body.
func (e *Error) read(resp *http.Response) {
	data, _ := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody))
	e.Status = resp.StatusCode
	e.wait = retryAfter(resp.Header, time.Now())
	trimmed := strings.ToLower(strings.TrimSpace(string(data[:min(len(data), 512)])))
	e.html = strings.HasPrefix(trimmed, "<!doctype html") || strings.HasPrefix(trimmed, "<html")
	if e.html && resp.StatusCode >= 400 {
		// A proxy's or gateway's error page says no more than its status.
		e.html = resp.StatusCode < 500 && !slices.Contains([]int{401, 403, 404, 408, 413, 429}, resp.StatusCode)
		return
	}
	var body errorBody
	if json.Unmarshal(data, &body) != nil || len(body.Errors) == 0 && body.Details == "" {
		if text := strings.TrimSpace(string(data)); text != "" {
			e.Err = fmt.Errorf("%q", clip(text))
		}
		return
	}
	var says []string
	for _, one := range body.Errors[:min(len(body.Errors), 5)] {
		e.codes = append(e.codes, one.Code)
		says = append(says, fmt.Sprintf("%s: %q", clip(one.Code), clip(one.Message)))
	}
	if body.Details != "" {
		says = append(says, fmt.Sprintf("%q", clip(body.Details)))
	}
	e.Err = errors.New(strings.Join(says, "; "))
}

// has tells whether the registry gave one of these codes.
func (e *Error) has(codes ...string) bool {
	return slices.ContainsFunc(codes, func(c string) bool { return slices.Contains(e.codes, c) })
}

// statusOf returns the status in an error's chain, 0 if there is none.
func statusOf(err error) int {
	var e *Error
	if errors.As(err, &e) {
		return e.Status
	}
	return 0
}

// OfflineError reports what a client that may contact nothing would need.
type OfflineError struct {
	// Ref is what was wanted, such as a tag or "the config of …".
	Ref string
}

func (e *OfflineError) Error() string {
	return fmt.Sprintf("%s is not in the cache, and this is offline", e.Ref)
}

// Hint says how to fill the cache.
func (e *OfflineError) Hint() string {
	return "run the same command once without --offline, or use a base from a file: " +
		"oci-archive:FILE, oci:DIR"
}

// CAFileError reports Options.CAFile if no certificate can be read from it.
type CAFileError struct {
	File string
	Err  error
}

func (e *CAFileError) Error() string {
	return fmt.Sprintf("reading authorities from %s: %v", e.File, e.Err)
}

// Unwrap returns Err.
func (e *CAFileError) Unwrap() error { return e.Err }

// Usage tells that the error is in what the user wrote.
func (e *CAFileError) Usage() bool { return true }

// Hint says what such a file is.
func (e *CAFileError) Hint() string {
	return "name a readable file of certificates that begin with -----BEGIN CERTIFICATE-----"
}

// ConfigError reports a file of credentials that cannot be found, read or written.
type ConfigError struct {
	Op string // a gerund
	// File is the file; or the variable DOCKER_AUTH_CONFIG, which holds one.
	File string
	Line int // from 1; 0 if the fault has no line
	Err  error
}

func (e *ConfigError) Error() string {
	if e.Line > 0 {
		return fmt.Sprintf("%s %s:%d: %v", e.Op, e.File, e.Line, e.Err)
	}
	return fmt.Sprintf("%s %s: %v", e.Op, e.File, e.Err)
}

// reading is an Op.
const reading = "reading"

// Unwrap returns Err.
func (e *ConfigError) Unwrap() error { return e.Err }

// Hint says how to go on with or without the file.
func (e *ConfigError) Hint() string {
	switch {
	case e.File == authVariable:
		return "repair it, or unset " + authVariable
	case e.Op == reading:
		return "repair it, or set DOCKER_CONFIG to another directory for config.json"
	}
	return "set DOCKER_CONFIG to a directory for config.json that this user can write to"
}

// bare is the system's word without the path, which the error around it has.
func bare(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}
