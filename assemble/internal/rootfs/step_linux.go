package rootfs

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/decant-build/decant/assemble/internal/layer"
)

const (
	// stepPrefix tells steps from layers, whose IDs are hexadecimal.
	stepPrefix = "s"
	layerDir   = "fs"
	keyLength  = 64
)

// A Step is the change set of a step of a Dockerfile in a Store. It stays until it is
// closed; then Prune may take it.
type Step struct {
	// Dir is a lower directory for overlayfs with "userxattr". Nothing may be changed
	// in it.
	Dir string
	// Entries are the change set, as filetree.Apply and layer.Build take it: sorted,
	// with Base and Source where the content is.
	Entries []layer.Entry

	lock *lock
}

// Close gives the step free. It may be called more than once, but not while the Step
// is in use.
func (s *Step) Close() error {
	if s.lock == nil {
		return nil
	}
	err := s.lock.release()
	s.lock = nil
	return err
}

func isStep(id string) bool { return strings.HasPrefix(id, stepPrefix) }

func checkKey(key string) error {
	if b, err := hex.DecodeString(key); err != nil || len(b) != keyLength/2 ||
		strings.ToLower(key) != key {
		return fmt.Errorf("the key of a step is not %d hexadecimal digits: %q", keyLength, key)
	}
	return nil
}

func stepPlace(key string) *place {
	return &place{id: stepPrefix + key[:idLength-len(stepPrefix)], chain: "step:" + key}
}

// Step returns the change set that was kept under a key, 64 hexadecimal digits in
// lower case. One that is damaged, being made or being pruned is as good as none.
// The caller closes it.
func (s *Store) Step(key string) (*Step, bool) {
	if checkKey(key) != nil {
		return nil, false
	}
	p := stepPlace(key)
	// Without waiting for Prune, which may remove the lock meanwhile.
	l, err := tryLockFile(s.path("locks", p.id), os.O_RDWR, shared)
	if err != nil {
		return nil, false
	}
	if l.current() && l.touch() == nil {
		if step, ok := s.wholeStep(p); ok {
			step.lock = l
			return step, true
		}
	}
	l.release()
	return nil, false
}

func (s *Store) wholeStep(p *place) (*Step, bool) {
	if !s.whole(p) {
		return nil, false
	}
	entries, ok := readIndex(s.path("layers", p.id))
	return &Step{Dir: s.path("layers", p.id, layerDir), Entries: entries}, ok
}

// keep makes a step, or returns the one that is there. write is given the directory
// for what is in layers/ID, in which it makes that of the step. The files that it
// returns have their content below it.
func (s *Store) keep(
	ctx context.Context, key string, write func(temp string) ([]layer.Entry, tally, error),
) (step *Step, err error) {
	if err := checkKey(key); err != nil {
		return nil, err
	}
	p := stepPlace(key)
	guard, err := waitLock(ctx, s.path("lock"), shared)
	if err != nil {
		return nil, fmt.Errorf("locking the store: %w", err)
	}
	defer guard.release()
	err = s.hold(ctx, p, func(p *place) (ok bool) {
		step, ok = s.wholeStep(p)
		return ok
	})
	if err != nil {
		return nil, fmt.Errorf("locking a step: %w", err)
	}
	defer func() {
		if err != nil {
			step = nil
			err = errors.Join(s.explain(err), removeTree(s.path("tmp", p.id)), p.lock.release())
		}
	}()
	if !p.ready {
		if step, err = s.fillStep(p, write); err != nil {
			return nil, err
		}
		// Nobody prunes it in between, as the store is locked.
		if err := p.lock.wait(ctx, shared); err != nil {
			return nil, err
		}
	}
	step.lock = p.lock
	return step, nil
}

func (s *Store) fillStep(
	p *place, write func(string) ([]layer.Entry, tally, error),
) (*Step, error) {
	temp := s.path("tmp", p.id)
	if err := os.Mkdir(temp, 0o700); err != nil {
		return nil, err
	}
	entries, t, err := write(temp)
	if err != nil {
		return nil, err
	}
	index := encodeIndex(entries, temp)
	if len(index) > maxIndex {
		return nil, &LimitError{"bytes of names and attributes", maxEntryBytes}
	}
	t.Disk += int64(len(index))
	if err := replaceFile(filepath.Join(temp, "entries"), index); err != nil {
		return nil, err
	}
	r := record{
		Version: recordVersion, Chain: p.chain, Entries: len(entries), Tally: t, Boot: bootID(),
	}
	if err := r.write(filepath.Join(temp, "record")); err != nil {
		return nil, err
	}
	if err := os.Rename(temp, s.path("layers", p.id)); err != nil {
		return nil, err
	}
	home := s.path("layers", p.id)
	for i := range entries {
		if e := &entries[i]; e.Kind == layer.File {
			e.Base = filepath.Join(home, filepath.Base(e.Base))
		}
	}
	return &Step{Dir: filepath.Join(home, layerDir), Entries: entries}, nil
}
