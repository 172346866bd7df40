package main

import (
	"context"
	"fmt"
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

func (o *pushOptions) check(refs []string) error {
	for _, ref := range refs {
		if !hasHost(ref) {
			return usagef("write HOST/"+ref, "pushing to %s: the name has no registry host", ref)
		}
	}
	if err := o.ui.check(); err != nil {
		return err
	}
	return o.client.check()
}

func runPush(ctx context.Context, o *pushOptions, source string, refs []string, std stdio) error {
	if err := o.check(refs); err != nil {
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
			return err
		}
	}
	ui.Fact("done", strings.Join(refs, " "))
	for _, ref := range pushed {
		fmt.Fprintln(std.out, ref)
	}
	return nil
}
