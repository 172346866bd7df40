package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/decant-build/decant/assemble"
)

func newPlanCommand(std stdio) *cobra.Command {
	var o buildOptions
	var serve bool
	cmd := &cobra.Command{
		Use:   "plan [PATH]",
		Short: "Print what build would do, as a Dockerfile",
		Long: "plan prints the Dockerfile that does what decant build would do with the same flags.\n" +
			"It executes nothing and contacts nobody. With --serve it prints the configuration with which\n" +
			"nginx will serve a finished site, for which it asks the base.",
		Example: "  decant plan .\n  decant plan dist --serve",
		Args:    argCount(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir, err := directory(args)
			if err != nil {
				return err
			}
			return runPlan(cmd.Context(), &o, serve, cmd.Flags(), dir, std)
		},
	}
	cmd.Flags().BoolVar(&serve, "serve", false, "print nginx's configuration instead")
	o.addBuildFlags(cmd.Flags())
	o.client.addFlags(cmd.Flags())
	return cmd
}

func runPlan(ctx context.Context, o *buildOptions, serve bool, flags *pflag.FlagSet, dir string, std stdio) error {
	s, err := loadSettings(dir)
	if err != nil {
		return err
	}
	if err := s.apply(flags, buildFlags()); err != nil {
		return err
	}
	o.ui.progress = "auto"
	if err := o.check(); err != nil {
		return err
	}
	if err := o.dockerfile.clash(flags, dir); err != nil {
		return err
	}
	opts, err := o.assembleOptions(dir, std.in)
	if err != nil {
		return err
	}
	ui := newUI(std.err, o.ui)
	opts.Progress = ui
	print := assemble.Plan
	if serve {
		client, err := o.client.open(ui)
		if err != nil {
			return err
		}
		opts.Pull, print = pullBase(client), assemble.PlanServing
	}
	text, err := print(ctx, opts)
	if err != nil {
		return err
	}
	_, err = fmt.Fprint(std.out, text)
	return err
}
