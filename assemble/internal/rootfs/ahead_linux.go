package rootfs

import "io"

// An ahead is a reader of what another goroutine reads in advance.
type ahead struct {
	full, free chan []byte
	quit       chan struct{}
	block      []byte // the one being read
	rest       []byte // of it
	err        error  // of the source; set before full is closed
}

func newAhead() *ahead {
	a := &ahead{
		full: make(chan []byte, aheadBlocks),
		free: make(chan []byte, aheadBlocks),
		quit: make(chan struct{}),
	}
	for range aheadBlocks {
		a.free <- make([]byte, readSize)
	}
	return a
}

// fill reads until the source or the reader ends. full never blocks, as it has
// room for all the blocks there are.
func (a *ahead) fill(r io.Reader) {
	defer close(a.full)
	for a.err == nil {
		var b []byte
		select {
		case b = <-a.free:
		case <-a.quit:
			a.err = io.ErrClosedPipe
			return
		}
		n := 0
		for n < len(b) && a.err == nil {
			var m int
			m, a.err = r.Read(b[n:])
			n += m
		}
		a.full <- b[:n]
	}
}

func (a *ahead) Read(p []byte) (int, error) {
	for len(a.rest) == 0 {
		if a.block != nil {
			a.free <- a.block[:cap(a.block)]
			a.block = nil
		}
		b, ok := <-a.full
		if !ok {
			return 0, a.err
		}
		a.block, a.rest = b, b
	}
	n := copy(p, a.rest)
	a.rest = a.rest[n:]
	return n, nil
}

// stop makes fill return after its current read.
func (a *ahead) stop() { close(a.quit) }
