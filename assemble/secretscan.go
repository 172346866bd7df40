package assemble

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/decant-build/decant/assemble/internal/cache"
	"github.com/decant-build/decant/assemble/internal/image"
	"github.com/decant-build/decant/assemble/internal/layer"
	"github.com/decant-build/decant/assemble/internal/plan"
	"github.com/decant-build/decant/assemble/internal/site"
)

// shortestSecret is the length from which a secret's value is looked for: a shorter
// one would be found in files that have nothing to do with it.
const shortestSecret = 8

// keepSecretsOut refuses files that hold the value of a secret of this build: a layer
// is for everybody who can pull the image.
func (b *build) keepSecretsOut(ctx context.Context, changes []layer.Entry) error {
	values := b.secretValues()
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

// secretValues are those that are long enough to be looked for, by id.
func (b *build) secretValues() map[string][]byte {
	values := map[string][]byte{}
	for _, s := range b.Secrets {
		if value := bytes.TrimSpace(s.Data); len(value) >= shortestSecret {
			values[s.ID] = value
		}
	}
	return values
}

// keepSecretsOutOf refuses a configuration that has the value of a secret.
func (b *build) keepSecretsOutOf(o image.Options) error {
	for id, value := range b.secretValues() {
		for name, member := range o.Config {
			var text any
			if json.Unmarshal(member, &text) == nil && bytes.Contains(fmt.Append(nil, text), value) {
				return &LeakError{Name: "the image's " + name, ID: id}
			}
		}
		for _, h := range o.History {
			if strings.Contains(h.CreatedBy, string(value)) {
				return &LeakError{Name: "the image's history", ID: id}
			}
		}
	}
	return nil
}

// checkLeak looks for secrets in what a RUN wrote, below dir.
func (st *step) checkLeak(ctx context.Context, dir string) error {
	x := st.stage.executor
	values := x.secretValues()
	if len(values) == 0 || x.leaked.Load() {
		return nil
	}
	return filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrPermission) || err == nil && !d.Type().IsRegular() {
			return ctx.Err()
		}
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, name)
		if err != nil {
			return err
		}
		id, err := findSecret(layer.Entry{Base: dir, Source: rel}, values)
		if id != "" {
			x.leaked.Store(true)
			x.tell(fmt.Sprintf("%s: /%s holds the value of the secret %q: nothing of this build is kept for later ones",
				st.where(), filepath.ToSlash(rel), id))
			return fs.SkipAll
		}
		if errors.Is(err, fs.ErrPermission) {
			x.leaked.Store(true) // nobody can tell: nothing is kept
			return nil
		}
		return err
	})
}

// storeKey is the name of a step in the store: one of this build alone once a secret
// has leaked.
func (x *executor) storeKey(key string) string {
	if x.leaked.Load() {
		return cache.Key("leaked/1", x.nonce, key)
	}
	return key
}

// tellSecrets warns of files of the user's that look like secrets. They are what the
// Dockerfile says, so that they are no error.
func (b *build) tellSecrets(st *step, changes []layer.Entry) error {
	if copied, ok := st.exec.(plan.CopyExec); !ok || copied.From.Kind != plan.SourceContext {
		return nil
	}
	dir := ""
	for _, e := range changes {
		if e.Source != "" {
			dir = e.Base
			break
		}
	}
	var found *site.SecretError
	err := site.CheckNames(layer.Tree{Dir: dir, Entries: changes}, "", nil)
	if !errors.As(err, &found) {
		return err
	}
	var names []string
	for _, f := range found.Findings {
		names = append(names, f.String())
	}
	st.stage.tell(fmt.Sprintf("%s: this will be in the image: %s; leave it out with .dockerignore, or copy less",
		st.where(), strings.Join(names, ", ")))
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
