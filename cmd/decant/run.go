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
	exitCanceled = 130 // interrupted
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
		fmt.Fprintln(std.err, "decant: "+interruptedText(err))
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
	hint := hintOf(err)
	if hint == "" {
		hint = placeHint(err)
	}
	for line := range strings.Lines(hint) {
		fmt.Fprintf(w, "decant: hint: %s\n", strings.TrimRight(line, "\n"))
	}
}

// hintOf is the first hint in an error's tree: one without a way out of its own
// does not hide that of its cause.
func hintOf(err error) string {
	hint := ""
	walk(err, func(e error) bool {
		if h, ok := e.(interface{ Hint() string }); ok {
			hint = h.Hint()
		}
		return hint != ""
	})
	return hint
}

// walk visits an error's tree as errors.As does, until visit returns true.
func walk(err error, visit func(error) bool) bool {
	if err == nil || visit(err) {
		return err != nil
	}
	switch e := err.(type) {
	case interface{ Unwrap() error }:
		return walk(e.Unwrap(), visit)
	case interface{ Unwrap() []error }:
		for _, one := range e.Unwrap() {
			if walk(one, visit) {
				return true
			}
		}
	}
	return false
}

// interruptedText says what an interrupted command left behind.
func interruptedText(err error) string {
	var published []string
	walk(err, func(e error) bool {
		if p, ok := e.(interface{ Published() []string }); ok {
			published = p.Published()
		}
		return len(published) > 0
	})
	if len(published) > 0 {
		return "interrupted after publishing " + strings.Join(published, ", ")
	}
	return "interrupted; nothing was published"
}

// printResult writes the references of a finished image.
func printResult(w io.Writer, refs []string) error {
	for _, ref := range refs {
		if _, err := fmt.Fprintln(w, ref); err != nil {
			return &lostResultError{refs: refs, err: err}
		}
	}
	return nil
}

// lostResultError is a result that nobody reads: a script must not go on as if
// there were none.
type lostResultError struct {
	refs []string
	err  error
}

func (e *lostResultError) Error() string {
	return fmt.Sprintf("printing the result: %v (the image is finished: %s)", e.err, strings.Join(e.refs, " "))
}

func (e *lostResultError) Unwrap() error { return e.err }

// Published is where the image is all the same.
func (e *lostResultError) Published() []string { return e.refs }

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

// Hint says what to write instead.
func (e *usageError) Hint() string { return e.hint }

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
	root.Version = versionText()
	root.SetVersionTemplate(versionLine())
	root.SetHelpCommand(newHelpCommand())
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

// newHelpCommand is --help for those who look for a command.
func newHelpCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "help [COMMAND]",
		Short:  "Show the help of a command",
		Hidden: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			found, rest, err := cmd.Root().Find(args)
			if err != nil {
				return err
			}
			if len(rest) > 0 {
				return unknownCommand(found, rest[0])
			}
			found.InitDefaultHelpFlag()
			found.InitDefaultVersionFlag()
			return found.Help()
		},
	}
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

// directory is the optional PATH of a command.
func directory(args []string) (string, error) {
	switch {
	case len(args) == 0:
		return ".", nil
	case args[0] == "":
		return "", usagef("name the directory; without a PATH it is the current one", "the PATH is empty")
	}
	return args[0], nil
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
