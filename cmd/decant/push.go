package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/decant-build/decant/assemble"
)

// pushOptions are the flags of push.
type pushOptions struct {
	digestFile string
	ui         uiOptions
	client     clientOptions
}

func (o *pushOptions) addFlags(fs *pflag.FlagSet) {
	fs.StringVar(&o.digestFile, "digest-file", "", "write the image's digest to `FILE`")
	o.ui.addFlags(fs)
	o.client.addFlags(fs)
}

func newPushCommand(std stdio) *cobra.Command {
	var o pushOptions
	cmd := &cobra.Command{
		Use:   "push SOURCE REF...",
		Short: "Push a layout, an archive or a stored image",
		Long: "push sends an image, with all its platforms, to one or more names. SOURCE is\n" +
			"oci:DIR[:TAG], oci-archive:FILE, docker-archive:FILE or the name of a stored image.",
		Example: "  decant push oci-archive:web.tar registry.example.com/shop/web:1.4",
		Args:    argCount(2, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runPush(cmd.Context(), &o, args[0], args[1:], std)
		},
	}
	o.addFlags(cmd.Flags())
	return cmd
}

func (o *pushOptions) check(source string, refs []string) error {
	if err := checkSource(source); err != nil {
		return err
	}
	for _, ref := range refs {
		if !hasHost(ref) {
			return usagef("write HOST/"+ref, "pushing to %s: the name has no registry host", ref)
		}
		name, _, _ := strings.Cut(ref, "@")
		if err := assemble.CheckName(name); err != nil {
			return err
		}
	}
	if o.digestFile != "" {
		if info, err := os.Stat(filepath.Dir(o.digestFile)); err != nil || !info.IsDir() {
			return usagef("create the directory first", "writing %s: no such directory", o.digestFile)
		}
	}
	if err := o.ui.check(); err != nil {
		return err
	}
	return o.client.check()
}

// checkSource reports a source that can be no image's: neither a file nor a name.
func checkSource(source string) error {
	if isFile(source) {
		return nil
	}
	name, digest, pinned := strings.Cut(source, "@")
	if pinned && digest == "" {
		return usagef("write NAME@sha256:…", "malformed source %q", source)
	}
	return assemble.CheckName(name)
}

// isFile tells a layout or an archive from a name.
func isFile(source string) bool {
	kind, _, ok := strings.Cut(source, ":")
	return ok && slices.Contains(fileKinds, assemble.OutputKind(kind))
}

func runPush(ctx context.Context, o *pushOptions, source string, refs []string, std stdio) error {
	if err := o.check(source, refs); err != nil {
		return err
	}
	store, err := storeDir()
	if err != nil {
		return err
	}
	ui := newUI(std.err, o.ui)
	defer ui.close()
	client, err := o.client.open(ui)
	if err != nil {
		return err
	}
	target, err := client.Target(refs...)
	if err != nil {
		return err
	}
	image, err := assemble.OpenImage(ctx, source, store)
	if err != nil {
		return err
	}
	defer image.Close()
	pushed, err := pusher{target}.Push(ctx, image.Manifest())
	ui.close()
	if err != nil {
		return err
	}
	if o.digestFile != "" {
		if err := writeFile(o.digestFile, []byte(image.Digest.String())); err != nil {
			return fmt.Errorf("%w (the image is finished: %s)", err, strings.Join(pushed, " "))
		}
	}
	ui.Fact("done", strings.Join(refs, " "))
	return printResult(std.out, pushed)
}
