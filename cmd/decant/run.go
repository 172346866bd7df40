package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

// Exit codes are part of the command line's contract: a meaning never changes.
// 2 is left out on purpose, as it is what a crashing Go program exits with.
const (
	exitOK       = 0   // done
	exitFailed   = 1   // the build or push failed
	exitUsage    = 64  // bad flag, argument, configuration or combination; nothing was touched
	exitCanceled = 130 // interrupted; nothing was published
)

// stdio is what a command reads and writes. out carries results only: the
// references of images, or help and text that were asked for.
type stdio struct {
	in  io.Reader
	out io.Writer
	err io.Writer
}

// run executes one command line and returns its exit code.
func run(ctx context.Context, args []string, std stdio) int {
	root := newRootCommand(std)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	switch {
	case err == nil:
		return exitOK
	case ctx.Err() != nil:
		fmt.Fprintln(std.err, "decant: interrupted; nothing was published")
		return exitCanceled
	}
	printError(std.err, err)
	if isUsage(err) {
		return exitUsage
	}
	return exitFailed
}

// printError writes err the way every command reports failure: what failed and
// where, then how to fix it.
func printError(w io.Writer, err error) {
	fmt.Fprintf(w, "decant: error: %v\n", err)
	var h interface{ Hint() string }
	if errors.As(err, &h) && h.Hint() != "" {
		for line := range strings.Lines(h.Hint()) {
			fmt.Fprintf(w, "decant: hint: %s\n", strings.TrimRight(line, "\n"))
		}
	}
}

// usageError is an error that the user fixes on the command line or in the
// configuration.
type usageError struct {
	err  error
	hint string
}

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

// Usage marks the error for isUsage.
func (e *usageError) Usage() bool { return true }

// Hint says what to write instead. Without one of its own it is that of the
// wrapped error.
func (e *usageError) Hint() string {
	var h interface{ Hint() string }
	if e.hint == "" && errors.As(e.err, &h) {
		return h.Hint()
	}
	return e.hint
}

func usagef(hint, format string, args ...any) error {
	return &usageError{err: fmt.Errorf(format, args...), hint: hint}
}

// isUsage finds errors that say so themselves, here and in the libraries.
func isUsage(err error) bool {
	var u interface{ Usage() bool }
	return errors.As(err, &u) && u.Usage()
}

// newRootCommand builds the command tree. It is made anew for every run, so
// nothing is shared between two runs in one process.
func newRootCommand(std stdio) *cobra.Command {
	root := &cobra.Command{
		Use:   "decant",
		Short: "Pour a front-end into a web-server image, without a daemon",
		Long: "decant adds a finished site to a base image as one reproducible layer and pushes\n" +
			"the result: no Docker daemon, no root, one static binary.",
		Example: "  decant build dist -t registry.example.com/shop/web:1.4",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			return unknownCommand(cmd, args[0])
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			return cmd.Help()
		},
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetIn(std.in)
	root.SetOut(std.out)
	root.SetErr(std.err)
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetHelpCommand(&cobra.Command{Hidden: true, Use: "no-help"})
	root.SetUsageTemplate(usageTemplate)
	root.SetHelpTemplate(helpTemplate)
	root.SetFlagErrorFunc(flagError)
	root.AddCommand(
		newBuildCommand(std),
		newPlanCommand(std),
		newRunCommand(std),
		newPushCommand(std),
		newLoginCommand(std),
		newLogoutCommand(std),
		newCacheCommand(std),
		newVersionCommand(std),
		newCompletionCommand(std),
	)
	return root
}

// helpTemplate starts with an example: it is what most readers came for.
const (
	helpTemplate = `{{with (or .Long .Short)}}{{. | trimTrailingWhitespaces}}

{{end}}{{.UsageString}}`
	usageTemplate = `{{if .HasExample}}Example:
{{.Example}}

{{end}}Usage:
  {{if .HasAvailableSubCommands}}{{.CommandPath}} COMMAND{{else}}{{.UseLine}}{{end}}
{{- if .HasAvailableSubCommands}}

Commands:{{range .Commands}}{{if .IsAvailableCommand}}
  {{rpad .Name .NamePadding }} {{.Short}}{{end}}{{end}}{{end}}
{{- if .HasAvailableLocalFlags}}

Flags:
{{.LocalFlags.FlagUsages | trimTrailingWhitespaces}}{{end}}

Exit codes: 0 done, 1 failed, 64 usage (nothing touched), 130 interrupted.
`
)

// flagError turns what pflag says into an error with a way out.
func flagError(cmd *cobra.Command, err error) error {
	hint := fmt.Sprintf("%s --help lists the flags", cmd.CommandPath())
	msg := err.Error()
	if name, ok := strings.CutPrefix(msg, "unknown flag: --"); ok {
		if near := nearest(name, flagNames(cmd)); near != "" {
			hint = "did you mean --" + near + "?"
		}
	}
	return usagef(hint, "%s", msg)
}

func unknownCommand(cmd *cobra.Command, arg string) error {
	hint := cmd.CommandPath() + " --help lists the commands"
	var names []string
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() {
			names = append(names, c.Name())
		}
	}
	if near := nearest(arg, names); near != "" {
		hint = "did you mean " + cmd.CommandPath() + " " + near + "?"
	}
	return usagef(hint, "unknown command %q", arg)
}

// exactly is cobra.ExactArgs as a usage error that shows the command's form.
func exactly(n int) cobra.PositionalArgs {
	return argCount(n, n)
}

// argCount accepts min to max arguments; a negative max is no bound.
func argCount(min, max int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < min:
			return usagef("usage: "+cmd.UseLine(), "an argument is missing")
		case max >= 0 && len(args) > max:
			return usagef("usage: "+cmd.UseLine(), "unexpected argument %q", args[max])
		}
		return nil
	}
}
