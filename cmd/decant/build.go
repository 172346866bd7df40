package main

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/decant-build/decant/assemble"
)

// buildOptions are what the flags, the environment and the configuration file
// of a build say; see settings.go for which wins.
type buildOptions struct {
	tags    []string
	outputs []string

	base     string
	dist     string
	webRoot  string
	platform string

	labels      []string
	annotations []string
	env         []string
	ports       []string
	user        string

	compression  string
	keepExec     bool
	allowSecrets []string
	noCache      bool

	dockerfile dockerfileOptions
	project    projectOptions
	serving    servingOptions

	digestFile   string
	metadataFile string
	imageRefs    string

	ui     uiOptions
	client clientOptions
}

func (o *buildOptions) addFlags(fs *pflag.FlagSet) {
	fs.StringArrayVarP(&o.tags, "tag", "t", nil,
		"a `REF` for the image; without a registry host it is stored locally (repeatable)")
	fs.StringArrayVarP(&o.outputs, "output", "o", nil,
		"where it goes: registry, store, oci:DIR, oci-archive:FILE or docker-archive:FILE as `DST` (repeatable);\n"+
			"of a Dockerfile also dir:DIR, the files of its target alone")
	fs.StringVar(&o.metadataFile, "metadata-file", "", "write the result as JSON to `FILE`, as docker buildx does")
	fs.StringVar(&o.imageRefs, "image-refs", "", "write every pushed reference to `FILE`, as ko does")
	fs.StringVar(&o.digestFile, "digest-file", "", "write the image's digest to `FILE`")
	o.addBuildFlags(fs)
	o.ui.addFlags(fs)
	o.client.addFlags(fs)
}

// buildFlags are all flags that a project's file may set.
func buildFlags() *pflag.FlagSet {
	var o buildOptions
	fs := pflag.NewFlagSet("build", pflag.ContinueOnError)
	o.addFlags(fs)
	return fs
}

// addBuildFlags adds what decides the image's content; plan and run have the same.
func (o *buildOptions) addBuildFlags(fs *pflag.FlagSet) {
	fs.StringVar(&o.base, "base", assemble.DefaultBase,
		"the web server's image: a registry `REF`, oci:DIR[:TAG], oci-archive:FILE, docker-archive:FILE or scratch; $DECANT_BASE")
	o.dockerfile.addFlags(fs)
	o.project.addFlags(fs)
	o.serving.addFlags(fs)
	fs.StringVar(&o.dist, "dist", "", "the finished site is in `DIR`: nothing is built")
	fs.StringVar(&o.webRoot, "web-root", assemble.DefaultWebRoot, "the site's `DIR` in the image")
	fs.StringVar(&o.platform, "platform", "",
		"`LIST` of platforms, or all (default linux/amd64,linux/arm64 where the base has them;\n"+
			"this machine's for a Dockerfile with a RUN)")
	fs.StringArrayVar(&o.labels, "label", nil, "add the label `K=V` to the image (repeatable)")
	fs.StringArrayVar(&o.annotations, "annotation", nil, "add the annotation `K=V` to manifest and index (repeatable)")
	fs.StringArrayVar(&o.env, "env", nil, "set `K=V` in the image's environment (repeatable)")
	fs.StringArrayVar(&o.ports, "port", nil, "declare that the image listens on `PORT`, as 8080 or 8080/tcp (repeatable)")
	fs.StringVar(&o.user, "user", "", "the `USER[:GROUP]` that the image runs as")
	fs.StringVar(&o.compression, "compression", "gzip", "of the site's layer: gzip or zstd (`NAME`)")
	fs.BoolVar(&o.keepExec, "keep-exec", false, "keep the executable bit of files (0755); otherwise every file is 0644")
	fs.StringArrayVar(&o.allowSecrets, "allow-secrets", nil,
		"publish files that look like secrets if their name matches `GLOB` (repeatable)")
	fs.BoolVar(&o.noCache, "no-cache", false, "read and compress everything, whatever earlier runs left")
}

func newBuildCommand(std stdio) *cobra.Command {
	var o buildOptions
	cmd := &cobra.Command{
		Use:   "build [PATH]",
		Short: "Build an image from a directory and push or write it",
		Long: "build does what the Dockerfile in PATH (or --file) says. Without one it takes a node project,\n" +
			"builds it in a throwaway container and adds the finished site to the base image as one layer,\n" +
			"for every platform; a PATH that is a finished site (or --dist) is added as it is. It pushes to\n" +
			"the tags that name a registry and prints the immutable reference.\n" +
			"Every flag can stand in .decant.yaml or under \"decant\" in package.json.",
		Example: "  decant build . -t registry.example.com/shop/web:1.4\n" +
			"  decant build -f Dockerfile.builder --target builder -t my-app .\n" +
			"  decant build dist -t registry.example.com/shop/web:1.4\n" +
			"  decant build . --dist dist --base nginxinc/nginx-unprivileged -t ghcr.io/me/web -t ghcr.io/me/web:1\n" +
			"  decant build dist --base oci:nginx -o oci-archive:web.tar",
		Args: argCount(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir, err := directory(args)
			if err != nil {
				return err
			}
			return runBuild(cmd.Context(), &o, cmd.Flags(), dir, std)
		},
	}
	o.addFlags(cmd.Flags())
	return cmd
}

// check reports what cannot work, before anything is touched.
func (o *buildOptions) check() error {
	for _, list := range []struct {
		flag     string
		settings []string
	}{{"label", o.labels}, {"annotation", o.annotations}, {"env", o.env}} {
		for _, kv := range list.settings {
			if k, _, ok := strings.Cut(kv, "="); !ok || k == "" {
				return usagef("write it as KEY=VALUE", "malformed --%s %q", list.flag, kv)
			}
		}
	}
	if o.base == "" {
		return usagef("leave --base out for "+assemble.DefaultBase, "the --base is empty")
	}
	if o.user != "" && !userForm.MatchString(o.user) {
		return usagef("write a name or a number, as nginx or 101:101", "malformed --user %q", o.user)
	}
	if err := o.checkResultFiles(); err != nil {
		return err
	}
	if err := o.dockerfile.check(); err != nil {
		return err
	}
	if err := o.serving.checkFlags(); err != nil {
		return err
	}
	if err := o.project.check(); err != nil {
		return err
	}
	if err := o.ui.check(); err != nil {
		return err
	}
	return o.client.check()
}

// userForm is USER[:GROUP], each a name or a number.
var userForm = regexp.MustCompile(`^[!-9;-~]+(:[!-9;-~]+)?$`)

// resultFiles are those that were asked for.
func (o *buildOptions) resultFiles() []string {
	files := []string{o.digestFile, o.metadataFile, o.imageRefs}
	return slices.DeleteFunc(files, func(file string) bool { return file == "" })
}

func (o *buildOptions) checkResultFiles() error {
	files := o.resultFiles()
	for i, file := range files {
		if info, err := os.Stat(filepath.Dir(file)); err != nil || !info.IsDir() {
			return usagef("create the directory first", "writing %s: no such directory", file)
		}
		if info, err := os.Stat(file); err == nil && info.IsDir() {
			return usagef("name a file in it", "writing %s: it is a directory", file)
		}
		if slices.Contains(files[:i], file) {
			return usagef("name another file", "writing %s: two results in one file", file)
		}
	}
	return nil
}

// keepOutOfSite refuses results that the next build would publish.
func (o *buildOptions) keepOutOfSite(ctx context.Context, opts assemble.Options) error {
	if len(o.resultFiles()) == 0 {
		return nil
	}
	site, err := assemble.SiteDir(ctx, opts)
	if err != nil || site == "" {
		return err
	}
	for _, file := range o.resultFiles() {
		if insideSite(file, site) {
			return usagef("write it elsewhere", "writing %s: it is in the site, and would be published", file)
		}
	}
	return nil
}

func runBuild(ctx context.Context, o *buildOptions, fs *pflag.FlagSet, dir string, std stdio) (err error) {
	s, err := loadSettings(dir)
	if err != nil {
		return err
	}
	if err := s.apply(fs, fs); err != nil {
		return err
	}
	if err := o.check(); err != nil {
		return err
	}
	if err := o.dockerfile.clash(fs, dir); err != nil {
		return err
	}
	dest, err := o.destinations(projectName(dir, s))
	if err != nil {
		return err
	}
	if files := o.resultFiles(); len(files) > 0 && dest.onlyFiles() {
		return usagef("add an output that is an image", "writing %s: output dir is no image", files[0])
	}
	opts, err := o.assembleOptions(dir, std.in)
	if err != nil {
		return err
	}
	if err := o.keepOutOfSite(ctx, opts); err != nil {
		return err
	}
	ui := newUI(std.err, o.ui)
	defer ui.close()
	client, err := o.client.open(ui)
	if err != nil {
		return err
	}
	opts.Pull = pullBase(client)
	opts.Progress = ui
	opts.Outputs = dest.outputs
	if len(dest.refs) > 0 {
		target, err := client.Target(dest.refs...)
		if err != nil {
			return err
		}
		opts.Push = pusher{target}
	}
	result, err := assemble.Build(ctx, opts)
	ui.close()
	if err != nil {
		printTail(std.err, ui, err)
		return err
	}
	if err := o.writeResultFiles(result, dest); err != nil {
		return err
	}
	ui.summary(result)
	return printResult(std.out, result.References)
}

// assembleOptions translates the flags; what they exclude was checked.
func (o *buildOptions) assembleOptions(dir string, stdin io.Reader) (assemble.Options, error) {
	created, err := sourceDateEpoch()
	if err != nil {
		return assemble.Options{}, err
	}
	cacheDir, err := cacheDir()
	if err != nil {
		return assemble.Options{}, err
	}
	dist, err := o.distDir(dir)
	if err != nil {
		return assemble.Options{}, err
	}
	opts := assemble.Options{
		Dir: dir, Dist: dist,
		Base: o.base, WebRoot: o.webRoot, Platforms: o.platform,
		Labels: keyValues(o.labels), Annotations: keyValues(o.annotations),
		Env: o.env, Ports: o.ports, User: o.user,
		Created: created, Compression: o.compression, KeepExec: o.keepExec,
		AllowSecrets: o.allowSecrets,
		CacheDir:     cacheDir, NoCache: o.noCache,
	}
	o.serving.apply(&opts)
	if err := o.dockerfile.apply(&opts, stdin); err != nil {
		return assemble.Options{}, err
	}
	return opts, o.project.apply(&opts)
}

// distDir is the absolute directory of --dist, which is relative to the current
// one and not to PATH.
func (o *buildOptions) distDir(dir string) (string, error) {
	if o.dist == "" {
		return "", nil
	}
	if _, err := os.Stat(o.dist); errors.Is(err, fs.ErrNotExist) {
		hint := "build the site first, or name the directory that has its index.html"
		inside := filepath.Join(dir, o.dist)
		if info, err := os.Stat(inside); err == nil && info.IsDir() {
			hint = "--dist is relative to the current directory: " + inside + " exists"
		}
		return "", usagef(hint, "reading --dist %s: no such directory", o.dist)
	}
	return filepath.Abs(o.dist)
}

// keyValues turns checked K=V strings into a map; the last one of a key wins.
func keyValues(list []string) map[string]string {
	m := make(map[string]string, len(list))
	for _, kv := range list {
		k, v, _ := strings.Cut(kv, "=")
		m[k] = v
	}
	return m
}

// sourceDateEpoch reads SOURCE_DATE_EPOCH; unset is the Unix epoch.
// https://reproducible-builds.org/specs/source-date-epoch/
func sourceDateEpoch() (time.Time, error) {
	text := os.Getenv("SOURCE_DATE_EPOCH")
	if text == "" {
		return time.Unix(0, 0).UTC(), nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	const year10000 = 253402300800
	if err != nil || n < 0 || n >= year10000 {
		return time.Time{}, usagef("it is a number of seconds since 1970, as date +%s prints",
			"malformed SOURCE_DATE_EPOCH %q", text)
	}
	return time.Unix(n, 0).UTC(), nil
}

// cacheDir is $DECANT_CACHE_DIR, or decant's part of the user's cache. A user
// without a home has none, and builds without.
func cacheDir() (string, error) {
	if dir := os.Getenv("DECANT_CACHE_DIR"); dir != "" {
		return filepath.Abs(dir)
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", nil
	}
	return filepath.Join(dir, "decant"), nil
}
