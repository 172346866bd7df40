package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/decant-build/decant/assemble"
)

// projectOptions are the flags about the build step of a node project.
type projectOptions struct {
	builder        string
	installCommand string
	buildCommand   string
	outputDir      string
	env            []string
	secrets        []string
	isolation      string
	network        string
	timeout        time.Duration
}

func (o *projectOptions) addFlags(fs *pflag.FlagSet) {
	fs.StringVar(&o.builder, "builder", "",
		"the image with node, as a `REF` like that of --base (default: from the project's node version); $DECANT_BUILDER")
	fs.StringVar(&o.installCommand, "install-command", "", "install the dependencies with `COMMAND` rather than what was detected")
	fs.StringVar(&o.buildCommand, "build-command", "", "build the site with `COMMAND` rather than what was detected")
	fs.StringVar(&o.outputDir, "output-dir", "", "the build leaves the site in `DIR`, relative to its package.json")
	fs.StringArrayVar(&o.env, "env-build", nil, "set `K=V` for the build step only (repeatable)")
	fs.StringArrayVar(&o.secrets, "secret", nil,
		"show a secret to the build step as the file /run/secrets/ID: `id=ID[,src=FILE|env=NAME]`; npmrc is npm's own (repeatable)")
	fs.StringVar(&o.isolation, "isolation", "auto",
		"of the build step: auto, userns, chroot (no boundary) or none (on this machine, in a copy) (`KIND`)")
	fs.StringVar(&o.network, "network", "host", "none cuts the build command off, but not the install (`KIND`)")
	fs.DurationVar(&o.timeout, "timeout", 0, "end the build if its steps take longer than `TIME` in all, as 10m (default never)")
}

func (o *projectOptions) check() error {
	for _, kv := range o.env {
		if k, _, ok := strings.Cut(kv, "="); !ok || k == "" {
			return usagef("write it as KEY=VALUE", "malformed --env-build %q", kv)
		}
	}
	if o.network != "host" && o.network != "none" && o.network != "" {
		return usagef("one of host, none", "unknown --network %q", o.network)
	}
	if o.timeout < 0 {
		return usagef("write it as 10m", "negative --timeout %s", o.timeout)
	}
	for _, s := range o.secrets {
		if _, err := parseSecret(s); err != nil {
			return err
		}
	}
	return nil
}

// apply fills in what the build step needs. Secrets are read here, once.
func (o *projectOptions) apply(opts *assemble.Options) error {
	opts.Builder, opts.InstallCommand, opts.BuildCommand = o.builder, o.installCommand, o.buildCommand
	opts.OutputDir, opts.NoNetwork, opts.Timeout = o.outputDir, o.network == "none", o.timeout
	opts.Isolation = assemble.Isolation(o.isolation)
	opts.BuildEnv, opts.Proxies = o.env, proxyEnv()
	opts.CABundle = caBundle()
	for _, text := range o.secrets {
		s, err := parseSecret(text)
		if err != nil {
			return err
		}
		data, err := s.read()
		if err != nil {
			return err
		}
		opts.Secrets = append(opts.Secrets, assemble.Secret{ID: s.id, Data: data})
	}
	return nil
}

// proxyEnv are this machine's proxies: installing reaches the network as decant
// does.
func proxyEnv() []string {
	var env []string
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY"} {
		for _, n := range []string{name, strings.ToLower(name)} {
			if value, ok := os.LookupEnv(n); ok {
				env = append(env, n+"="+value)
			}
		}
	}
	return env
}

// caBundle is the file of authorities that this machine trusts, which may have
// more than node knows; "" if there is none.
func caBundle() string {
	candidates := []string{os.Getenv("NODE_EXTRA_CA_CERTS"), os.Getenv("SSL_CERT_FILE")}
	if runtime.GOOS == "linux" {
		candidates = append(candidates, "/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt",
			"/etc/ssl/ca-bundle.pem")
	}
	for _, file := range candidates {
		if info, err := os.Stat(file); file != "" && err == nil && info.Mode().IsRegular() {
			if abs, err := filepath.Abs(file); err == nil {
				return abs
			}
		}
	}
	return ""
}

// secret is one --secret.
type secret struct{ id, src, env string }

var secretID = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$`)

const secretForm = "write it as id=npmrc,src=~/.npmrc or id=token,env=NPM_TOKEN"

// parseSecret reads docker's form.
func parseSecret(text string) (secret, error) {
	var s secret
	for field := range strings.SplitSeq(text, ",") {
		key, value, ok := strings.Cut(field, "=")
		switch {
		case ok && key == "id":
			s.id = value
		case ok && (key == "src" || key == "source"):
			s.src = value
		case ok && key == "env":
			s.env = value
		case ok && key == "type" && slices.Contains([]string{"file", "env"}, value):
		default:
			return s, usagef(secretForm, "malformed --secret: %q is no part of it", key)
		}
	}
	if !secretID.MatchString(s.id) || s.src != "" && s.env != "" {
		return s, usagef(secretForm, "malformed --secret with id %q", s.id)
	}
	return s, nil
}

// maxSecret bounds a secret, as docker does.
const maxSecret = 500 << 10

// read returns the secret. Without a source it is the variable of the id's name,
// or else the file, as in docker.
func (s secret) read() ([]byte, error) {
	name := s.env
	if name == "" && s.src == "" {
		if _, ok := os.LookupEnv(s.id); ok {
			name = s.id
		}
	}
	if name != "" {
		value, ok := os.LookupEnv(name)
		if !ok {
			return nil, usagef("export "+name, "secret %s: the variable %s is not set", s.id, name)
		}
		return []byte(value), nil
	}
	file := s.src
	if file == "" {
		file = s.id
	}
	if rest, ok := strings.CutPrefix(file, "~/"); ok {
		home, err := os.UserHomeDir()
		if err != nil {
			return nil, fmt.Errorf("secret %s: %w", s.id, err)
		}
		file = filepath.Join(home, rest)
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, usagef(secretForm, "secret %s: %w", s.id, err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	if err == nil && len(data) > maxSecret {
		err = errors.New("larger than 500 KiB")
	}
	if err != nil {
		return nil, fmt.Errorf("secret %s: %w", s.id, err)
	}
	return data, nil
}
