package registrytest

import (
	"io"
	"net"
	"net/http"
	"regexp"
	"strconv"
)

// Fault is something that goes wrong with a request. It is counted over the
// requests that match, and takes those from the From-th on, Times of them.
type Fault struct {
	// Method is the request's; "" is any.
	Method string
	// Path is a regular expression for path and query; "" is any.
	Path string
	// From is the first of the matching requests that is taken, counted from 1;
	// 0 is 1.
	From int
	// Times is how many are taken; 0 is 1, -1 is all that follow.
	Times int

	// Status, if not 0, is the answer, with Header and Body.
	Status int
	Header http.Header
	Body   string
	// Cut, if not 0, ends the connection after so many bytes of the body: the
	// answer's, or for PUT and PATCH the request's.
	Cut int64
	// Stall gives no answer until the client has gone.
	Stall bool
	// Reset ends the connection at once.
	Reset bool
	// Corrupt changes the first byte of the answer's body.
	Corrupt bool
	// WrongDigest announces another Docker-Content-Digest.
	WrongDigest bool
}

// fault is a Fault that counts.
type fault struct {
	Fault
	path *regexp.Regexp
	seen int
}

func newFault(f Fault) *fault {
	if f.From == 0 {
		f.From = 1
	}
	if f.Times == 0 {
		f.Times = 1
	}
	return &fault{Fault: f, path: regexp.MustCompile(f.Path)}
}

func (f *fault) takes(q *http.Request) bool {
	if f.Method != "" && f.Method != q.Method || !f.path.MatchString(q.URL.RequestURI()) {
		return false
	}
	f.seen++
	return f.seen >= f.From && (f.Times < 0 || f.seen < f.From+f.Times)
}

// fail applies a fault. It reports whether the request is answered; if not, it
// may have wrapped w or the request's body.
func (r *Registry) fail(w *http.ResponseWriter, q *http.Request, f *Fault) (done bool) {
	switch {
	case f.Reset:
		reset(*w)
	case f.Stall:
		select {
		case <-q.Context().Done():
		case <-r.closing:
		}
		panic(http.ErrAbortHandler)
	case f.Status != 0:
		for k, v := range f.Header {
			(*w).Header()[k] = v
		}
		(*w).WriteHeader(f.Status)
		_, _ = io.WriteString(*w, f.Body)
		return true
	case f.Cut != 0 && (q.Method == http.MethodPut || q.Method == http.MethodPatch):
		q.Body = &cutBody{ReadCloser: q.Body, left: f.Cut}
	default:
		*w = &faultyWriter{ResponseWriter: *w, fault: f, left: f.Cut}
	}
	return false
}

// reset closes the connection without the usual good-bye.
func reset(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err == nil {
		if tcp, ok := conn.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		_ = conn.Close()
	}
	panic(http.ErrAbortHandler)
}

// cutBody is a request's body whose connection breaks. What arrived before is
// kept by the handler, as real registries keep it.
type cutBody struct {
	io.ReadCloser
	left int64
}

func (b *cutBody) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errCut
	}
	n, err := b.ReadCloser.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}

// errCut makes a handler drop the connection.
const errCut = cutError("the test cuts the connection")

type cutError string

func (e cutError) Error() string { return string(e) }

// faultyWriter spoils an answer.
type faultyWriter struct {
	http.ResponseWriter
	fault   *Fault
	left    int64
	written bool
}

func (w *faultyWriter) WriteHeader(status int) {
	if w.fault.WrongDigest {
		w.Header().Set("Docker-Content-Digest", "sha256:"+
			"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef")
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *faultyWriter) Write(p []byte) (int, error) {
	if w.fault.Corrupt && !w.written && len(p) > 0 {
		p = append([]byte{p[0] ^ 1}, p[1:]...)
	}
	w.written = true
	if w.fault.Cut == 0 {
		return w.ResponseWriter.Write(p)
	}
	if int64(len(p)) < w.left {
		w.left -= int64(len(p))
		return w.ResponseWriter.Write(p)
	}
	_, _ = w.ResponseWriter.Write(p[:w.left])
	_ = http.NewResponseController(w.ResponseWriter).Flush()
	panic(http.ErrAbortHandler)
}

// HTML is a fault's answer that no registry gives, but a proxy's error page.
func HTML(status int) Fault {
	const page = "<!DOCTYPE html><html><body>Sign in to the network</body></html>"
	return Fault{Status: status, Body: page, Times: -1, Header: http.Header{
		"Content-Type": {"text/html"}, "Content-Length": {strconv.Itoa(len(page))},
	}}
}
