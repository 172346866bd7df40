package assemble

import (
	"context"
	"fmt"
	"io"
	"os"
	"path"
	"strconv"
	"strings"

	"github.com/decant-build/decant/assemble/internal/cache"
	"github.com/decant-build/decant/assemble/internal/filetree"
	"github.com/decant-build/decant/assemble/internal/layer"
	"github.com/decant-build/decant/assemble/internal/plan"
)

// source is the files that a COPY reads.
type source struct {
	tree *filetree.Tree
	base *stageBase // the image that has what the tree only names; nil for none
	near []string   // where else to look for what is missing
	user bool       // the files are the user's: owners mean nothing
}

// sourceTree is the files that from names. What they take is executed.
func (st *step) sourceTree(ctx context.Context, from plan.CopySource) (source, error) {
	x := st.stage.executor
	switch from.Kind {
	case plan.SourceStage:
		s := st.stage.stages[from.Stage]
		tree, err := s.files(ctx)
		return source{tree: tree, base: s.ground().base, near: near(s.state.Config.WorkingDir)}, err
	case plan.SourceImage:
		base, err := st.stage.baseFor(ctx, from.Image, st.stage.plan.Platform)
		if err != nil {
			return source{}, err
		}
		tree, err := x.treeOf(ctx, x.filesOf(base), false)
		return source{tree: tree, base: base, near: near(base.state.Config.WorkingDir)}, err
	}
	if from.Kind == plan.SourceScratch {
		return source{tree: filetree.New()}, nil
	}
	return source{tree: x.files, user: true}, nil
}

func near(dir string) []string {
	if dir == "" || dir == "/" {
		return nil
	}
	return []string{dir}
}

// copy computes what a COPY or ADD writes. The stage's mu is held.
func (st *step) copy(ctx context.Context, e plan.CopyExec) ([]layer.Entry, error) {
	into, err := st.stage.treeAfter(ctx, st.n-1)
	if err != nil {
		return nil, err
	}
	return st.copyInto(ctx, into, e)
}

// copyInto writes the sources into a tree, those of each kind after the other.
func (st *step) copyInto(ctx context.Context, into *filetree.Tree, e plan.CopyExec) ([]layer.Entry, error) {
	spec := filetree.CopySpec{Dest: e.Dest, Chmod: e.Chmod, Exclude: e.Exclude, Parents: e.Parents, Link: e.Link}
	if e.Chown != "" {
		uid, gid, err := into.ResolveOwner(e.Chown)
		if err != nil {
			return nil, st.fault(err)
		}
		spec.Owner = &filetree.Owner{UID: uid, GID: gid}
	}
	var sets [][]layer.Entry
	lay := func(c filetree.CopySpec, base *stageBase) error {
		entries, err := into.Copy(ctx, c)
		if err == nil && base != nil {
			err = st.stage.fetch(ctx, base, entries)
		}
		if err != nil {
			return err
		}
		if len(entries) == 0 && c.Wildcards && c.ResetOwner {
			st.stage.tell(fmt.Sprintf("%s: %s copies nothing: nothing matches", st.where(), e.Text))
		}
		sets = append(sets, entries)
		into = into.Clone()
		return into.Apply(entries, noOrigin)
	}
	if err := st.copyKinds(ctx, e, spec, lay); err != nil {
		return nil, st.explainCopy(err, e)
	}
	if len(sets) == 1 {
		return sets[0], nil
	}
	return filetree.Merge(sets...)
}

// copyKinds calls lay for the files, the URLs and the heredocs of the instruction.
func (st *step) copyKinds(ctx context.Context, e plan.CopyExec, spec filetree.CopySpec,
	lay func(filetree.CopySpec, *stageBase) error) error {
	if len(e.Sources) > 0 {
		from, err := st.sourceTree(ctx, e.From)
		if err != nil {
			return err
		}
		c := spec
		c.From, c.Sources, c.Wildcards, c.ResetOwner, c.Near = from.tree, e.Sources, true, from.user, from.near
		if e.Add && (e.Unpack == nil || *e.Unpack) {
			c.Unpack = st.stage.unpackArchive
		}
		if err := lay(c, from.base); err != nil {
			return err
		}
	}
	for _, url := range e.URLs {
		file, err := st.stage.download(ctx, url, e.Checksum)
		if err != nil {
			return err
		}
		c := spec
		c.From, c.Sources, c.ResetOwner = file.tree, []string{"/" + file.name}, true
		if e.Unpack != nil && *e.Unpack {
			c.Unpack = st.stage.unpackArchive
		}
		if err := lay(c, nil); err != nil {
			return err
		}
	}
	if len(e.Inline) == 0 {
		return nil
	}
	c := spec
	c.From, c.ResetOwner = filetree.New(), true
	for _, f := range e.Inline {
		name := path.Base(f.Name)
		if err := c.From.Apply([]layer.Entry{{Name: name, Mode: 0o644, Data: f.Data, Size: int64(len(f.Data))}}, noOrigin); err != nil {
			return err
		}
		c.Sources = append(c.Sources, "/"+name)
	}
	return lay(c, nil)
}

// unpackArchive is what ADD does with a file that is an archive.
func (x *executor) unpackArchive(ctx context.Context, e layer.Entry) ([]layer.Entry, bool, error) {
	f, err := openEntry(e)
	if err != nil {
		return nil, false, err
	}
	defer f.Close()
	head := make([]byte, filetree.ArchiveHead)
	n, err := io.ReadFull(f, head)
	if err != nil && err != io.ErrUnexpectedEOF && err != io.EOF {
		return nil, false, err
	}
	if !filetree.IsArchive(head[:n]) {
		return nil, false, nil
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, false, err
	}
	dir, err := os.MkdirTemp(x.dir, "archive-")
	if err != nil {
		return nil, false, err
	}
	entries, err := filetree.ReadArchive(ctx, f, dir)
	return entries, true, err
}

// copyKey is what decides what a COPY writes, besides the files that are there: of
// the context and of URLs their content, of a stage its key.
func (st *step) copyKey(ctx context.Context, e plan.CopyExec) ([]string, error) {
	own := []string{"copy", strconv.FormatBool(e.Add), e.Dest, e.Chown, e.Chmod, strconv.FormatBool(e.Link),
		strconv.FormatBool(e.Parents), cache.Key(e.Exclude...), fmt.Sprint(e.Unpack != nil && *e.Unpack, e.Unpack == nil)}
	if e.From.Kind != plan.SourceContext {
		from, err := st.sourceKey(ctx, e.From)
		return append(own, from, cache.Key(e.Sources...)), err
	}
	// As into nothing: what the destination has is in the key before. The names that
	// --chown looks up are too.
	// A directory keeps the sources' names in the key.
	e.Chown, e.Dest = "", strings.TrimSuffix(e.Dest, "/")+"/"
	entries, err := st.copyInto(ctx, filetree.New(), e)
	if err != nil {
		return nil, err
	}
	sum, err := st.stage.contentKey(ctx, entries)
	return append(own, sum), err
}

// sourceKey is the key of files that are not the user's.
func (st *step) sourceKey(ctx context.Context, from plan.CopySource) (string, error) {
	switch from.Kind {
	case plan.SourceStage:
		return st.stage.stages[from.Stage].key(ctx)
	case plan.SourceImage:
		base, err := st.stage.baseFor(ctx, from.Image, st.stage.plan.Platform)
		if err != nil {
			return "", err
		}
		return base.id.String(), nil
	}
	return "", nil
}

// contentKey stands for entries and the content of their files, but not for times
// and places.
func (x *executor) contentKey(ctx context.Context, entries []layer.Entry) (string, error) {
	var parts []string
	sums, err := x.sums.SumAll(ctx, entries)
	if err != nil {
		return "", err
	}
	for i, e := range entries {
		parts = append(parts, e.Name, fmt.Sprint(e.Kind, e.Mode, e.UID, e.GID, e.Opaque, e.Major, e.Minor), e.Target, string(sums[i][:]))
		for _, a := range e.Xattrs {
			parts = append(parts, a.Name, string(a.Value))
		}
	}
	return cache.Key(parts...), nil
}
