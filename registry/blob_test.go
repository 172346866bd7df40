package registry

import (
	"errors"
	"io"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// TestCloseEndsAReadThatWaits closes a blob from another goroutine, as who gives up
// a download does.
func TestCloseEndsAReadThatWaits(t *testing.T) {
	reading := make(chan struct{})
	body, _ := io.Pipe()
	b := &blobReader{ctx: t.Context(), desc: v1.Descriptor{Size: 10}}
	b.current.set(readNotifier{body, reading})
	ended := make(chan error)
	go func() {
		_, err := b.Read(make([]byte, 10))
		ended <- err
	}()
	<-reading
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; !errors.Is(err, errClosed) {
		t.Errorf("the read that waited: %v", err)
	}
	if _, err := b.Read(make([]byte, 1)); !errors.Is(err, errClosed) {
		t.Errorf("a read afterwards: %v", err)
	}
}

// readNotifier tells of the first read.
type readNotifier struct {
	io.ReadCloser
	reading chan struct{}
}

func (r readNotifier) Read(p []byte) (int, error) {
	close(r.reading)
	return r.ReadCloser.Read(p)
}
