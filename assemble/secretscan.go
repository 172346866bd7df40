package assemble

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/decant-build/decant/assemble/internal/layer"
)

// shortestSecret is the length from which a secret's value is looked for: a shorter
// one would be found in files that have nothing to do with it.
const shortestSecret = 8

// keepSecretsOut refuses files that hold the value of a secret of this build: a layer
// is for everybody who can pull the image.
func (b *build) keepSecretsOut(ctx context.Context, changes []layer.Entry) error {
	values := map[string][]byte{}
	for _, s := range b.Secrets {
		if value := bytes.TrimSpace(s.Data); len(value) >= shortestSecret {
			values[s.ID] = value
		}
	}
	if len(values) == 0 {
		return nil
	}
	for _, e := range changes {
		if e.Kind != layer.File || e.Size < shortestSecret {
			continue
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		id, err := findSecret(e, values)
		if err != nil {
			return err
		}
		if id != "" {
			return &LeakError{Name: "/" + e.Name, ID: id}
		}
	}
	return nil
}

// findSecret reads a file once, in pieces that overlap by the longest value.
func findSecret(e layer.Entry, values map[string][]byte) (id string, err error) {
	f, err := readEntry(e)
	if err != nil {
		return "", err
	}
	defer f.Close()
	longest := 0
	for _, v := range values {
		longest = max(longest, len(v))
	}
	r := bufio.NewReaderSize(f, longest+1<<16)
	for {
		piece, err := r.Peek(longest + 1<<16)
		if err != nil && !errors.Is(err, io.EOF) {
			return "", err
		}
		for id, v := range values {
			if bytes.Contains(piece, v) {
				return id, nil
			}
		}
		if err != nil {
			return "", nil
		}
		if _, err := r.Discard(1 << 16); err != nil {
			return "", err
		}
	}
}

// LeakError is a file of a layer that holds a secret.
type LeakError struct{ Name, ID string }

func (e *LeakError) Error() string {
	return fmt.Sprintf("%s holds the value of the secret %q, and would be in the image", e.Name, e.ID)
}

// Hint says how to keep it out.
func (e *LeakError) Hint() string {
	return "remove the file in the same RUN, or copy what the image needs into a stage of its own"
}
