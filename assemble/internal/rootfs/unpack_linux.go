package rootfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// A Rootfs is an image's layers in a Store. They stay until it is closed; then
// Prune may take them.
type Rootfs struct {
	// Layers are directories, bottom first, for overlayfs with "userxattr". There
	// is at least one. Nothing may be changed in them.
	Layers []string
	// Config is the image's.
	Config v1.ConfigFile
	Stats  Stats

	locks []*lock
}

// Close gives the layers free. It may be called more than once, but not while the
// Rootfs is in use.
func (r *Rootfs) Close() error {
	var errs []error
	for _, l := range r.locks {
		errs = append(errs, l.release())
	}
	r.locks = nil
	return errors.Join(errs...)
}

// View reads the layers as if mounted, below further directories in the form of
// overlayfs, the last of which is on top.
func (r *Rootfs) View(uppers ...string) View {
	return newView(append(append([]string(nil), r.Layers...), uppers...))
}

// ReadFile reads a regular file of the image of at most limit bytes.
func (r *Rootfs) ReadFile(name string, limit int64) ([]byte, error) {
	return r.View().ReadFile(name, limit)
}

// LookupUser is View.LookupUser over the image alone.
func (r *Rootfs) LookupUser(user string) (uid, gid uint32, home string, err error) {
	return r.View().LookupUser(user)
}

// Unpack makes sure that all layers of an image are in the store, reading those
// that are not from the image, several at once. The caller closes the Rootfs.
//
// After an error, or when ctx ends, the layers that were whole stay in the store,
// and nothing else. An error is a *LayerError where it has to do with one layer.
func (s *Store) Unpack(ctx context.Context, img v1.Image, o Options) (_ *Rootfs, err error) {
	slots, config, err := slotsOf(img)
	if err != nil {
		return nil, err
	}
	r := &Rootfs{Config: *config}
	defer func() {
		for _, sl := range slots {
			if sl.lock == nil {
				continue
			}
			if err == nil {
				r.locks = append(r.locks, sl.lock)
				continue
			}
			err = errors.Join(err, s.abandon(sl))
		}
	}()
	guard, err := waitLock(ctx, s.path("lock"), shared)
	if err != nil {
		return nil, fmt.Errorf("locking the store: %w", err)
	}
	defer guard.release()
	for _, sl := range slots {
		if err := s.hold(ctx, &sl.place, s.whole); err != nil {
			return nil, fmt.Errorf("locking layer %d: %w", sl.index+1, err)
		}
	}
	if err := s.fill(ctx, slots, r, o); err != nil {
		return nil, s.explain(err)
	}
	r.Layers = s.stack(slots)
	for _, sl := range slots {
		r.Stats.Entries += sl.record.Entries
		r.Stats.Devices += sl.record.Devices
		r.Stats.Xattrs += sl.record.Xattrs
	}
	return r, nil
}

// hold locks a place: shared if what it is for is there and whole, exclusively if
// that has to be made. Chains are locked from the bottom, so that two processes
// never wait for each other.
func (s *Store) hold(ctx context.Context, p *place, whole func(*place) bool) error {
	name := s.path("locks", p.id)
	for {
		for _, how := range []int{shared, exclusive} {
			l, err := tryLock(name, how)
			if errors.Is(err, errBusy) {
				continue
			}
			if err != nil {
				return err
			}
			p.ready = whole(p)
			if p.ready == (how == shared) {
				p.lock = l
				return s.begin(p)
			}
			l.release()
		}
		if err := pause(ctx); err != nil {
			return err
		}
	}
}

// begin is called with the lock of a place. It notes the use, for Prune, and
// removes what is left of something that is not whole.
func (s *Store) begin(p *place) error {
	if err := p.lock.touch(); err != nil {
		return err
	}
	if p.ready {
		return nil
	}
	return s.discard(p.id)
}

// whole says whether a layer or step is in the store, and after a restart of the
// system whether it survived that.
func (s *Store) whole(p *place) bool {
	name := s.path("layers", p.id, "record")
	r, ok := readRecord(name)
	if !ok || r.Chain != p.chain {
		return false
	}
	if boot := bootID(); boot == "" || boot != r.Boot {
		now, err := tallyOf(s.path("layers", p.id, layerDir))
		if err != nil || !r.Tally.intact(now) {
			return false
		}
		r.Boot = boot
		if r.write(name) != nil {
			return false
		}
	}
	p.record = r
	return true
}

// fill makes the layers that are missing.
func (s *Store) fill(ctx context.Context, slots []*slot, r *Rootfs, o Options) error {
	p := &progress{tell: o.Progress}
	for _, sl := range slots {
		if sl.ready {
			r.Stats.Reused++
			continue
		}
		r.Stats.Unpacked++
		p.now.Layers++
		p.now.Bytes += sl.size
	}
	limits := o.Limits.withDefaults()
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(o.concurrency())
	for _, sl := range slots {
		if !sl.ready {
			g.Go(func() error {
				err := s.extract(gctx, sl, nil, limits, p.add)
				p.done(err)
				return sl.explain(err)
			})
		}
	}
	err := g.Wait()
	// What is whole from the bottom up is kept, also after an error above it.
	for i, sl := range slots {
		if sl.ready {
			continue
		}
		if sl.x == nil {
			return err
		}
		lower := newView(s.stack(slots[:i]))
		if ferr := s.finish(ctx, sl, lower, limits); ferr != nil {
			return errors.Join(err, sl.explain(ferr))
		}
	}
	return err
}

func (o Options) concurrency() int {
	if o.Concurrency > 0 {
		return o.Concurrency
	}
	return defaultConcurrency
}

// extract reads the tar of a layer. Symlinks below through which it writes are in
// links.
func (s *Store) extract(
	ctx context.Context, sl *slot, links map[string]string, l Limits, note func(int),
) (err error) {
	temp := s.path("tmp", sl.id)
	if err := os.MkdirAll(filepath.Join(temp, layerDir), 0o700); err != nil {
		return err
	}
	owners, err := createOwners(filepath.Join(temp, "owners"))
	if err != nil {
		return err
	}
	x, err := newExtraction(filepath.Join(temp, layerDir), links, l, owners)
	if err != nil {
		return errors.Join(err, owners.close())
	}
	err = sl.read(ctx, l, note, func(r io.Reader) error { return x.run(ctx, r) })
	if err = errors.Join(err, owners.close()); err != nil {
		x.close()
		return err
	}
	sl.x = x
	return nil
}

// finish completes a layer above those below, and gives it its name.
func (s *Store) finish(ctx context.Context, sl *slot, lower View, l Limits) error {
	if err := s.redirect(ctx, sl, lower, l); err != nil {
		return err
	}
	x := sl.x
	if err := (finisher{x, lower}).complete(); err != nil {
		return err
	}
	x.close()
	sl.x = nil
	temp := s.path("tmp", sl.id)
	if err := noteImplied(filepath.Join(temp, "owners"), x.implied); err != nil {
		return err
	}
	t, err := tallyOf(filepath.Join(temp, layerDir))
	if err != nil {
		return err
	}
	sl.record = record{
		Version: recordVersion, Chain: sl.chain, DiffID: sl.diffID.String(), Digest: sl.digest.String(),
		Opaque: x.top.opaque, Entries: x.stats.Entries, Devices: x.stats.Devices, Xattrs: x.stats.Xattrs,
		Tally: t, Boot: bootID(),
	}
	if err := sl.record.write(filepath.Join(temp, "record")); err != nil {
		return err
	}
	if err := os.Rename(temp, s.path("layers", sl.id)); err != nil {
		return err
	}
	sl.ready = true
	// Nobody prunes it meanwhile, as Unpack has the store locked.
	return sl.lock.wait(ctx, shared)
}

// redirect extracts a layer again as long as it writes through symlinks of the
// layers below that were not known. Each round finds those of one more level.
func (s *Store) redirect(ctx context.Context, sl *slot, lower View, l Limits) error {
	links := map[string]string{}
	for range maxLinks {
		found, err := finisher{sl.x, lower}.redirects()
		if err != nil || len(found) == 0 {
			return err
		}
		maps.Copy(links, found)
		sl.x.close()
		sl.x = nil
		if err := removeTree(s.path("tmp", sl.id)); err != nil {
			return err
		}
		if err := s.extract(ctx, sl, links, l, func(int) {}); err != nil {
			return err
		}
	}
	return &EntryError{"it writes through too many symlinks of the layers below"}
}

// stack returns the directories of layers that show, and never none.
func (s *Store) stack(slots []*slot) []string {
	var dirs []string
	for _, sl := range slots {
		if sl.record.Opaque {
			dirs = nil
		}
		dirs = append(dirs, s.path("layers", sl.id, layerDir))
	}
	if len(dirs) == 0 {
		dirs = []string{s.path("empty")}
	}
	return dirs
}

// abandon gives up a layer after an error: what is not whole goes.
func (s *Store) abandon(sl *slot) (err error) {
	if sl.x != nil {
		sl.x.close()
	}
	if !sl.ready {
		err = removeTree(s.path("tmp", sl.id))
	}
	return errors.Join(err, sl.lock.release())
}

// explain names the store in errors that another one would not have.
func (s *Store) explain(err error) error {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return &SpaceError{s.dir, err}
	}
	for _, lack := range []error{errNoWhiteouts, errNoOpaque} {
		if errors.Is(err, lack) {
			return &StoreError{s.dir, lack.Error()}
		}
	}
	return err
}
