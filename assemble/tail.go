package assemble

import (
	"io"
	"sync"
)

// tailBytes is how much of a step's output is kept for the error.
const tailBytes = 8 << 10

// tail keeps the last bytes written to it. Safe for concurrent use.
type tail struct {
	mu  sync.Mutex
	buf []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p[max(0, len(p)-tailBytes):]...)
	if len(t.buf) > 2*tailBytes {
		t.buf = append(t.buf[:0], t.buf[len(t.buf)-tailBytes:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.buf[max(0, len(t.buf)-tailBytes):])
}

// fanOut writes to all, as io.MultiWriter, but is comparable: the sandbox takes
// equal writers for standard output and error as one.
type fanOut struct{ a, b io.Writer }

func (f fanOut) Write(p []byte) (int, error) {
	if n, err := f.a.Write(p); err != nil {
		return n, err
	}
	return f.b.Write(p)
}
