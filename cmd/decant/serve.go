package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/decant-build/decant/assemble"
	"github.com/decant-build/decant/registry"
)

// runOptions are the flags of run: where to serve, and some of build's for a PATH.
type runOptions struct {
	port          int
	containerPort int
	command       []string // in place of the image's own
	serves        bool     // on a port
	build         buildOptions
	// settings are all flags of build, for the file of a PATH.
	settings *pflag.FlagSet
}

// sharedFlags are those of build that run has too.
var sharedFlags = []string{
	"base", "builder", "dist", "isolation", "progress", "quiet", "insecure-registry", "ca-file", "mirror",
	"file", "target", "build-arg", "secret", "ssh", "jobs",
	"serve", "spa", "no-spa", "csp", "header", "base-path", "proxy", "runtime-env", "check",
}

func (o *runOptions) addFlags(fs *pflag.FlagSet) {
	fs.IntVar(&o.port, "port", 8080, "serve on this `PORT` of 127.0.0.1; 0 takes a free one")
	fs.IntVar(&o.containerPort, "container-port", 0, "the `PORT` on which the image listens (default the one it exposes)")
	o.settings = pflag.NewFlagSet("build", pflag.ContinueOnError)
	o.build.addFlags(o.settings)
	for _, name := range sharedFlags {
		fs.AddFlag(o.settings.Lookup(name))
	}
}

func (o *runOptions) check() error {
	for _, port := range []int{o.port, o.containerPort} {
		if port < 0 || port > 65535 {
			return usagef("a port is a number from 1 to 65535", "malformed port %d", port)
		}
	}
	return o.build.check()
}

// maxCommand bounds the arguments of a command; a system's own limit is lower.
const maxCommand = 1 << 16

func newRunCommand(std stdio) *cobra.Command {
	var o runOptions
	cmd := &cobra.Command{
		Use:   "run IMAGE|PATH [COMMAND [ARG...]]",
		Short: "Serve an image on this machine, in a throwaway container",
		Long: "run serves an image with its own entrypoint and command on 127.0.0.1 until ^C. IMAGE is a\n" +
			"stored name, HOST/NAME:TAG, oci:DIR[:TAG], oci-archive:FILE or docker-archive:FILE; a PATH is built\n" +
			"first. The container has no network but the connections to its port. With a COMMAND that is\n" +
			"executed in place of the image's own (after -- if it has flags), and no port is taken unless --port\n" +
			"says so. It needs Linux.",
		Example: "  decant run .\n  decant run registry.example.com/shop/web:1.4 --port 9000\n  decant run my-app ls /dist",
		Args:    argCount(1, maxCommand),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.command = args[1:]
			o.serves = len(o.command) == 0 || cmd.Flags().Changed("port")
			return runRun(cmd.Context(), &o, args[0], std)
		},
	}
	o.addFlags(cmd.Flags())
	return cmd
}

func runRun(ctx context.Context, o *runOptions, what string, std stdio) (err error) {
	path := isPath(what)
	if err := o.prepare(what, path); err != nil {
		return err
	}
	listener, err := o.listen()
	if err != nil {
		return err
	}
	if listener != nil {
		defer listener.Close()
	}
	cache, err := cacheDir()
	if err != nil {
		return err
	}
	ui := newUI(std.err, o.build.ui)
	defer ui.close()
	client, err := o.build.client.open(ui)
	if err != nil {
		return err
	}
	var image *assemble.Base
	if path {
		image, err = o.buildPath(ctx, what, client, ui, std)
	} else {
		image, err = findImage(ctx, what, client)
	}
	if err != nil {
		return err
	}
	if image.Close != nil {
		defer func() { err = errors.Join(err, image.Close()) }()
	}
	output := std.err
	if listener != nil {
		ui.Fact("serving", fmt.Sprintf("%s on http://%s/ until ^C", what, listener.Addr()))
	} else {
		output = std.out // the command's output is the result
	}
	ui.close()
	err = assemble.Serve(ctx, assemble.ServeOptions{
		Image: image, Name: what, Command: o.command, Listener: listener, Port: o.containerPort,
		Output: output, Errors: std.err, CacheDir: cache, Warn: ui.Warn,
		Chroot: assemble.Isolation(o.build.project.isolation) == assemble.IsolationChroot,
	})
	if ctx.Err() != nil && o.serves {
		return nil // ^C is how it is meant to end
	}
	return err
}

// listen takes the port, before anything else: nobody should wait for a build to
// learn that it is in use.
func (o *runOptions) listen() (net.Listener, error) {
	if !o.serves {
		return nil, nil
	}
	listener, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(o.port)))
	if err != nil {
		return nil, usagef("choose another with --port, or --port 0 for a free one", "serving on port %d: %w", o.port, err)
	}
	return listener, nil
}

// prepare reads the settings of a PATH and checks what can be checked before
// anything is touched.
func (o *runOptions) prepare(what string, path bool) error {
	if !path {
		if err := checkSource(what); err != nil {
			return err
		}
		return o.check()
	}
	if err := checkDirectory(what); err != nil {
		return err
	}
	s, err := loadSettings(what)
	if err != nil {
		return err
	}
	if err := s.apply(o.settings, o.settings); err != nil {
		return err
	}
	return o.check()
}

// isPath tells a path from the name of an image: it exists, and no image's
// name begins with a dot or a slash, so "web" is a stored image even where there
// is a directory web, and ./web is the directory.
func isPath(what string) bool {
	if strings.HasPrefix(what, ".") || filepath.IsAbs(what) {
		return true
	}
	_, err := os.Stat(what)
	return err == nil && !stored(what)
}

// checkDirectory refuses a file where a PATH was meant.
func checkDirectory(path string) error {
	if info, err := os.Stat(path); err == nil && !info.IsDir() {
		return usagef(fmt.Sprintf("an archive is oci-archive:%s or docker-archive:%[1]s", path),
			"reading %s: not a directory", path)
	}
	return nil
}

// stored reports whether the store has an image of that name.
func stored(name string) bool {
	store, err := storeDir()
	if err != nil {
		return false
	}
	image, err := assemble.OpenImage(context.Background(), name, store)
	if err != nil {
		return false
	}
	return image.Close == nil || image.Close() == nil
}

// buildPath builds a directory into a layout of its own, which closing the image
// removes.
func (o *runOptions) buildPath(ctx context.Context, dir string, client *registry.Client, ui *ui,
	std stdio) (_ *assemble.Base, err error) {
	opts, err := o.build.assembleOptions(dir, std.in)
	if err != nil {
		return nil, err
	}
	temp, err := os.MkdirTemp("", "decant-run-")
	if err != nil {
		return nil, fmt.Errorf("making a directory for the image: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(temp))
		}
	}()
	layout := filepath.Join(temp, "image")
	opts.Pull, opts.Progress = pullBase(client), ui
	opts.Outputs = []assemble.Output{{Kind: assemble.Layout, Path: layout}}
	if opts.Platforms == "" {
		opts.Platforms = hostPlatform
	}
	if _, err := assemble.Build(ctx, opts); err != nil {
		ui.close()
		printTail(std.err, ui, err)
		return nil, err
	}
	image, err := assemble.OpenImage(ctx, "oci:"+layout, "")
	if err != nil {
		return nil, err
	}
	closeImage := image.Close
	image.Close = func() error { return errors.Join(closeImage(), os.RemoveAll(temp)) }
	return image, nil
}

// printTail shows the last that a failed step printed, if that was not seen.
func printTail(w io.Writer, ui *ui, err error) {
	var failed *assemble.StepError
	if errors.As(err, &failed) && !ui.shows() {
		tail := failed.Tail
		if ui.terminal {
			tail = string(harmless([]byte(tail)))
		}
		fmt.Fprintf(w, "%s\n", strings.TrimRight(tail, "\n"))
	}
}

// findImage opens an image in a registry, a file or the store.
func findImage(ctx context.Context, what string, client *registry.Client) (*assemble.Base, error) {
	if hasHost(what) && !isFile(what) {
		return pullBase(client)(ctx, what)
	}
	store, err := storeDir()
	if err != nil {
		return nil, err
	}
	return assemble.OpenImage(ctx, what, store)
}
