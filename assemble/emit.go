package assemble

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"

	"github.com/decant-build/decant/assemble/internal/cache"
	"github.com/decant-build/decant/assemble/internal/image"
	"github.com/decant-build/decant/assemble/internal/layer"
	"github.com/decant-build/decant/assemble/internal/plan"
)

// emission makes the layers of the targets. A layer that several platforms have is
// made once.
type emission struct {
	*executor
	cancel context.CancelCauseFunc
	layers map[string]*layer.Layer // by blob key; nil for a step that changed nothing
	opened []*layer.Layer
	// freshLayers are those of files of the context, by stage and step.
	freshLayers map[[2]int]freshLayer
	info        LayerInfo
	// complete is set while an image is made all of whose layers are kept.
	complete bool
}

type freshLayer struct {
	changes []layer.Entry
	layer   *layer.Layer
}

// emit makes the image of every platform and publishes it. Meanwhile the layers of
// the bases are sent.
func (x *executor) emit(ctx context.Context, variants []*variant) (_ *Result, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	files, err := x.stageFiles(ctx, variants)
	defer func() { err = errors.Join(err, removeFiles(files)) }()
	if err != nil {
		return nil, err
	}
	if x.Push == nil && len(files) > 0 && len(x.imageOutputs()) == 0 {
		return &Result{}, x.commitFiles(files, nil)
	}
	e := &emission{executor: x, cancel: cancel, layers: map[string]*layer.Layer{}, freshLayers: map[[2]int]freshLayer{}}
	defer e.close()
	var sends errgroup.Group
	if x.Push != nil {
		sends.Go(func() error {
			err := x.sendBase(ctx, groundParts(variants))
			if err != nil {
				cancel(err)
			}
			return err
		})
	}
	f, err := e.images(ctx, variants)
	if err != nil {
		cancel(err)
	}
	if sendErr := sends.Wait(); err == nil {
		err = sendErr
	}
	if err != nil {
		return nil, firstCause(ctx, err)
	}
	refs, err := x.publish(ctx, f)
	if err != nil {
		return nil, err
	}
	if err := x.commitFiles(files, refs); err != nil {
		return nil, err
	}
	return x.result(f, &siteLayer{info: e.info}, refs)
}

func (e *emission) close() {
	for _, l := range e.opened {
		l.Close()
	}
}

// groundParts are the images that the targets stand on.
func groundParts(variants []*variant) []part {
	var parts []part
	for _, v := range variants {
		if base := v.target.ground().base; base != nil {
			parts = append(parts, part{platform: v.platform, base: base.image})
		}
	}
	return parts
}

// images makes one image, or an index of several.
func (e *emission) images(ctx context.Context, variants []*variant) (f finished, err error) {
	var trees errgroup.Group
	defer trees.Wait() // whose error is that of whoever needs the tree
	for _, v := range variants[1:] {
		if s := v.target.ground(); s.base != nil && !s.runs() && copiesFresh(v.target.chain()) {
			trees.Go(func() error {
				_, err := v.treeOf(ctx, v.filesOf(s.base), false)
				return err
			})
		}
	}
	var children []image.Child
	for _, v := range variants {
		img, err := e.image(ctx, v)
		if err != nil {
			return f, err
		}
		digest, err := img.Digest()
		if err != nil {
			return f, err
		}
		children = append(children, image.Child{Platform: v.platform, Image: img})
		f.images = append(f.images, PlatformImage{Platform: platformText(v.platform), Digest: digest})
		f.manifest = img
	}
	var like Base
	if base := variants[0].target.ground().base; base != nil {
		like = *base.base
	}
	if len(children) > 1 {
		if f.manifest, err = image.Index(like.Index, children, e.annotations(like.Name, like.Digest)); err != nil {
			return f, err
		}
	}
	mediaType, err := f.manifest.MediaType()
	if err == nil && len(e.Annotations) > 0 && !image.HasAnnotations(mediaType) {
		e.tell("the base is a Docker image, which has no annotations: they are left out; use --label")
	}
	return f, err
}

// image lays the steps of a target on its base.
func (e *emission) image(ctx context.Context, v *variant) (v1.Image, error) {
	ground := v.target.ground().base
	base, name, digest := image.Scratch(v.platform), "", v1.Hash{}
	if ground != nil {
		base, name, digest = ground.image, ground.base.Name, ground.digest
	}
	mediaType, err := e.layerMediaType(base)
	if err != nil {
		return nil, err
	}
	o := image.Options{
		Created: e.Created, Config: v.target.state.Config.Fields(), Author: v.target.state.Author,
		Env: e.Env, Labels: e.Labels, Ports: e.Ports, Annotations: e.annotations(name, digest),
	}
	if e.User != "" {
		o.User = &e.User
	}
	chain := v.target.chain()
	if e.complete, err = e.allKept(ctx, chain); err != nil {
		return nil, err
	}
	ahead := e.startStages(ctx, chain)
	defer ahead.Wait() // whose error is that of whoever needs the stage
	for i, st := range chain {
		l, err := e.layer(ctx, st, noRun(chain[i:]))
		if err != nil {
			return nil, err
		}
		if l != nil {
			o.Layers = append(o.Layers, l.As(mediaType))
		}
		if created := st.exec.Where().CreatedBy; created != "" {
			o.History = append(o.History, v1.History{
				Created: v1.Time{Time: e.Created}, CreatedBy: created, EmptyLayer: l == nil, Comment: historyComment,
			})
		}
	}
	if err := e.keepSecretsOutOf(o); err != nil {
		return nil, err
	}
	img, err := image.Append(base, o)
	if err != nil {
		return nil, fmt.Errorf("image for %s: %w", platformText(v.platform), err)
	}
	return img, nil
}

// historyComment says who wrote the entry, as BuildKit's does.
const historyComment = "decant"

// copiesFresh reports a chain that ends in files of the user's: they are laid on its
// base in every build.
func copiesFresh(chain []*step) bool {
	return len(chain) > 0 && noRun(chain) && slices.ContainsFunc(chain, (*step).isFresh)
}

func noRun(steps []*step) bool {
	for _, st := range steps {
		if _, ok := st.exec.(plan.RunExec); ok {
			return false
		}
	}
	return true
}

// layer is the layer of a step; nil if it changed nothing. last is set where no
// command is executed any more.
func (e *emission) layer(ctx context.Context, st *step, last bool) (*layer.Layer, error) {
	if _, meta := st.exec.(plan.MetaExec); meta {
		return nil, nil
	}
	if last && st.isFresh() {
		return e.fresh(ctx, st)
	}
	key, err := e.blobKey(ctx, st)
	if err != nil {
		return nil, err
	}
	if l, ok := e.kept(ctx, st, key); ok {
		if l == nil {
			return nil, nil
		}
		return l, e.count(l, nil)
	}
	changes, err := e.changed(ctx, st)
	if err != nil {
		return nil, err
	}
	if len(changes) == 0 {
		e.keepIndex(emptyKey(key), nil)
		e.layers[key] = nil
		return nil, nil
	}
	l, record, err := e.write(ctx, st, changes)
	if err != nil {
		return nil, st.fault(err)
	}
	e.keep(ctx, key, l, record)
	e.keepIndex(st.placeKey(), []byte(key))
	e.layers[key] = l
	return l, e.count(l, changes)
}

// changed is what goes into the layer of a step.
func (e *emission) changed(ctx context.Context, st *step) ([]layer.Entry, error) {
	changes, err := st.changed(ctx)
	if err == nil {
		err = e.keepSecretsOut(ctx, changes)
	}
	if err == nil {
		err = e.tellSecrets(st, changes)
	}
	return changes, st.fault(err)
}

// isFresh reports a COPY of the user's files on which nothing depends: the files' own
// record of the last build tells whether they changed, and nothing is read twice.
func (st *step) isFresh() bool {
	e, ok := st.exec.(plan.CopyExec)
	return ok && e.From.Kind == plan.SourceContext && len(e.URLs) == 0
}

func (e *emission) blobKey(ctx context.Context, st *step) (string, error) {
	key, err := st.key(ctx)
	return cache.Key("layer/1", key, string(e.layerForm)), err
}

// allKept reports whether the cache has every layer that depends on a command.
func (e *emission) allKept(ctx context.Context, chain []*step) (bool, error) {
	if e.cache == nil || e.NoCache {
		return false, nil
	}
	for i, st := range chain {
		if _, meta := st.exec.(plan.MetaExec); meta || st.isFresh() && noRun(chain[i:]) {
			continue
		}
		key, err := e.blobKey(ctx, st)
		if err != nil {
			return false, err
		}
		if _, _, ok := e.find(key); !ok {
			return false, nil
		}
	}
	return true, nil
}

// find looks in the cache for a layer, or for the note that there is none.
func (e *emission) find(key string) (record *layer.Record, blob string, ok bool) {
	if _, empty := e.cache.Index(emptyKey(key)); empty {
		return nil, "", true
	}
	record, blob, ok = e.cache.Layer(key)
	return record, blob, ok && blob != ""
}

// kept finds the layer of this build or of an earlier one. That of an earlier one
// counts only if all others are kept too, or if the commands behind it need not be
// executed again: of two runs of a command, one image must not have files of both.
func (e *emission) kept(ctx context.Context, st *step, key string) (*layer.Layer, bool) {
	if l, ok := e.layers[key]; ok {
		return l, true
	}
	if e.cache == nil || e.NoCache || !e.complete && !st.whole(ctx) {
		return nil, false
	}
	record, blob, ok := e.find(key)
	if !ok {
		return nil, false
	}
	var l *layer.Layer
	if record != nil {
		l = layer.FromRecord(record, blob)
		e.opened = append(e.opened, l)
		e.info.Unchanged = true
	}
	e.layers[key] = l
	return l, true
}

func emptyKey(key string) string { return cache.Key("empty/1", key) }

// placeKey names the step's place in the Dockerfile: what was there in the last build
// is likely to be nearly the same.
func (st *step) placeKey() string {
	x := st.stage.executor
	return cache.Key("place/2", x.input.identity, x.input.name, platformText(st.stage.variant.platform),
		fmt.Sprint(st.stage.plan.Index, st.n), string(x.layerForm))
}

// fresh makes a layer of files of the context that nothing depends on.
func (e *emission) fresh(ctx context.Context, st *step) (*layer.Layer, error) {
	changes, err := e.changed(ctx, st)
	if err != nil || len(changes) == 0 {
		return nil, err
	}
	place := [2]int{st.stage.plan.Index, st.n}
	if f, ok := e.freshLayers[place]; ok && reflect.DeepEqual(f.changes, changes) {
		return f.layer, nil // as on the last platform
	}
	l, err := e.makeFresh(ctx, st, changes)
	if err != nil {
		return nil, err
	}
	e.freshLayers[place] = freshLayer{changes, l}
	return l, e.count(l, changes)
}

func (e *emission) makeFresh(ctx context.Context, st *step, changes []layer.Entry) (*layer.Layer, error) {
	key := st.placeKey()
	o := e.layerOptions(changes)
	if e.cache != nil && !e.NoCache {
		o.Reuse, o.ReuseBlob, _ = e.cache.Layer(key)
	}
	tree := e.tree(changes)
	if o.ReuseBlob != "" && o.Reuse.Unchanged(tree, e.layerForm) {
		l := layer.FromRecord(o.Reuse, o.ReuseBlob)
		e.opened = append(e.opened, l)
		e.info.Unchanged = true
		return l, nil
	}
	l, record, err := e.makeLayer(ctx, tree, nil, o)
	if err != nil {
		return nil, st.fault(err)
	}
	e.opened = append(e.opened, l)
	e.keep(ctx, key, l, record)
	return l, nil
}

// write makes a layer, of pieces of the one that was last at this place where they
// are equal.
func (e *emission) write(ctx context.Context, st *step, changes []layer.Entry) (*layer.Layer, *layer.Record, error) {
	o := e.layerOptions(changes)
	if e.cache != nil && !e.NoCache {
		if last, ok := e.cache.Index(st.placeKey()); ok {
			o.Reuse, o.ReuseBlob, _ = e.cache.Layer(string(last))
		}
	}
	l, record, err := e.makeLayer(ctx, e.tree(changes), nil, o)
	if err == nil {
		e.opened = append(e.opened, l)
	}
	return l, record, err
}

func (e *emission) layerOptions(changes []layer.Entry) layer.Options {
	return layer.Options{Compression: e.layerForm, Temp: e.build.temp(), Progress: e.layerProgress(e.tree(changes))}
}

func (e *emission) tree(changes []layer.Entry) layer.Tree {
	return layer.Tree{ScannedAt: e.scanned, Entries: changes}
}

// keep remembers a layer for the next build. That it cannot costs time only.
func (e *emission) keep(ctx context.Context, key string, l *layer.Layer, record *layer.Record) {
	if e.cache == nil || e.leaked.Load() {
		return
	}
	if err := e.cache.Keep(ctx, key, l, record); err != nil {
		e.tell("a layer is not kept for the next build: " + err.Error())
	}
}

func (e *emission) keepIndex(key string, data []byte) {
	if e.cache == nil || e.leaked.Load() {
		return
	}
	if err := e.cache.KeepIndex(key, data); err != nil {
		e.tell("a step is not kept for the next build: " + err.Error())
	}
}

// count adds a layer to what the result says of the build.
func (e *emission) count(l *layer.Layer, changes []layer.Entry) error {
	s := siteLayer{layer: l}
	if err := s.describe(e.tree(changes)); err != nil {
		return err
	}
	i := &e.info
	i.Digest, i.DiffID = s.info.Digest, s.info.DiffID
	i.Layers++
	i.Files += s.info.Files
	i.SiteBytes += s.info.SiteBytes
	i.TarBytes += s.info.TarBytes
	i.Bytes += s.info.Bytes
	i.ReusedChunks += s.info.ReusedChunks
	i.Chunks += s.info.Chunks
	return nil
}
