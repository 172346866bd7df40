package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"
)

// maxPassword bounds what is read as a password or token.
const maxPassword = 64 << 10

// loginOptions are the flags of login.
type loginOptions struct {
	user          string
	password      string
	passwordStdin bool
	client        clientOptions
}

func (o *loginOptions) addFlags(fs *pflag.FlagSet) {
	fs.StringVarP(&o.user, "username", "u", "", "the account's `NAME`")
	fs.StringVarP(&o.password, "password", "p", "", "the `PASSWORD`; other users of this machine can see it: prefer --password-stdin")
	fs.BoolVar(&o.passwordStdin, "password-stdin", false, "read the password from standard input")
	o.client.addFlags(fs)
}

func newLoginCommand(std stdio) *cobra.Command {
	var o loginOptions
	cmd := &cobra.Command{
		Use:     "login HOST",
		Short:   "Log in to a registry",
		Long:    "login checks a name and password with the registry and keeps them in the docker config\n($DOCKER_CONFIG or ~/.docker), or in the credential helper which that names.",
		Example: "  echo \"$TOKEN\" | decant login ghcr.io -u me --password-stdin",
		Args:    exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runLogin(cmd.Context(), &o, args[0], std)
		},
	}
	o.addFlags(cmd.Flags())
	return cmd
}

func (o *loginOptions) check() error {
	if o.password != "" && o.passwordStdin {
		return usagef("give one of the two", "both --password and --password-stdin")
	}
	if o.passwordStdin && o.user == "" {
		return usagef("add -u NAME", "--password-stdin without a user name")
	}
	return o.client.check()
}

func runLogin(ctx context.Context, o *loginOptions, host string, std stdio) error {
	if err := o.check(); err != nil {
		return err
	}
	user, password, err := o.credentials(std)
	if err != nil {
		return err
	}
	client, err := o.client.open(newUI(std.err, uiOptions{quiet: true}))
	if err != nil {
		return err
	}
	if err := client.Login(ctx, host, user, password); err != nil {
		return err
	}
	fmt.Fprintf(std.err, "decant: logged in to %s as %s\n", host, user)
	return nil
}

// credentials takes name and password from the flags, standard input or the
// person at the terminal.
func (o *loginOptions) credentials(std stdio) (user, password string, err error) {
	user, password = o.user, o.password
	if o.passwordStdin {
		data, err := io.ReadAll(io.LimitReader(std.in, maxPassword+1))
		if err != nil {
			return "", "", fmt.Errorf("reading the password: %w", err)
		}
		password = strings.TrimRight(string(data), "\r\n")
	}
	f, isFile := std.in.(*os.File)
	terminal := isFile && term.IsTerminal(int(f.Fd()))
	if terminal && user == "" {
		fmt.Fprint(std.err, "Username: ")
		line, err := bufio.NewReader(io.LimitReader(f, maxPassword)).ReadString('\n')
		if err != nil {
			return "", "", fmt.Errorf("reading the user name: %w", err)
		}
		user = strings.TrimSpace(line)
	}
	if terminal && password == "" {
		fmt.Fprint(std.err, "Password: ")
		data, err := term.ReadPassword(int(f.Fd()))
		fmt.Fprintln(std.err)
		if err != nil {
			return "", "", fmt.Errorf("reading the password: %w", err)
		}
		password = string(data)
	}
	switch {
	case user == "":
		return "", "", usagef("add -u NAME", "no user name")
	case password == "" || len(password) > maxPassword:
		return "", "", usagef("add --password-stdin, and pipe the password in", "no usable password")
	}
	return user, password, nil
}

func newLogoutCommand(std stdio) *cobra.Command {
	return &cobra.Command{
		Use:     "logout HOST",
		Short:   "Forget a registry's password",
		Example: "  decant logout ghcr.io",
		Args:    exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var o clientOptions
			client, err := o.open(newUI(std.err, uiOptions{quiet: true}))
			if err != nil {
				return err
			}
			found, err := client.Logout(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			did := "not logged in to"
			if found {
				did = "logged out of"
			}
			fmt.Fprintf(std.err, "decant: %s %s\n", did, args[0])
			return nil
		},
	}
}
