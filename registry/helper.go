package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"regexp"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
)

// A credential helper is a program docker-credential-NAME that takes a verb as
// its argument and talks JSON over standard input and output, so that no secret
// is ever an argument.
// https://github.com/docker/docker-credential-helpers

const (
	// helperTimeout is long: a helper may ask a person to unlock a key ring.
	helperTimeout = 2 * time.Minute
	maxHelperOut  = 1 << 20
)

// helperName is what may follow "docker-credential-"; a path must not.
var helperName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)

type helperAnswer struct {
	ServerURL, Username, Secret string
}

// getCredential asks a helper. One that knows nothing gives the zero credential.
func getCredential(ctx context.Context, helper, server string) (credential, error) {
	out, err := runHelper(ctx, helper, "get", []byte(server))
	var unknown *helperError
	if errors.As(err, &unknown) && unknown.notFound() {
		return credential{}, nil
	}
	if err != nil {
		return credential{}, err
	}
	var a helperAnswer
	if json.Unmarshal(out, &a) != nil {
		return credential{}, &helperError{
			helper: helper, verb: "get", err: errors.New("its answer is not JSON"),
		}
	}
	c := credential{source: "docker-credential-" + helper}
	if a.Username == "<token>" {
		c.AuthConfig = authn.AuthConfig{IdentityToken: a.Secret}
	} else {
		c.AuthConfig = authn.AuthConfig{Username: a.Username, Password: a.Secret}
	}
	return c, nil
}

func storeCredential(ctx context.Context, helper string, a helperAnswer) error {
	in, err := json.Marshal(a)
	if err != nil {
		return err
	}
	_, err = runHelper(ctx, helper, "store", in)
	return err
}

func eraseCredential(ctx context.Context, helper, server string) (found bool, err error) {
	_, err = runHelper(ctx, helper, "erase", []byte(server))
	var unknown *helperError
	if errors.As(err, &unknown) && unknown.notFound() {
		return false, nil
	}
	return err == nil, err
}

// helperError reports a helper that failed, with what it said.
type helperError struct {
	helper, verb, says string
	err                error
}

func (e *helperError) Error() string {
	if e.says == "" {
		return fmt.Sprintf("running docker-credential-%s %s: %v", e.helper, e.verb, e.err)
	}
	return fmt.Sprintf("running docker-credential-%s %s: %q", e.helper, e.verb, clip(e.says))
}

func (e *helperError) Unwrap() error { return e.err }

func (e *helperError) Hint() string {
	if errors.Is(e.err, exec.ErrNotFound) {
		return "the docker config names a credential helper that is not installed: install " +
			"docker-credential-" + e.helper + ", or remove it from credsStore and credHelpers"
	}
	return ""
}

// notFound tells the one error that helpers agree on, by its text, which is part
// of their protocol.
func (e *helperError) notFound() bool {
	return strings.Contains(e.says, "credentials not found")
}

func runHelper(ctx context.Context, helper, verb string, in []byte) ([]byte, error) {
	if !helperName.MatchString(helper) {
		return nil, fmt.Errorf("running credential helper %q: malformed name", clip(helper))
	}
	ctx, cancel := context.WithTimeout(ctx, helperTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "docker-credential-"+helper, verb)
	cmd.Stdin = bytes.NewReader(in)
	var out, says bytes.Buffer
	cmd.Stdout = &limitedWriter{&out, maxHelperOut}
	cmd.Stderr = &limitedWriter{&says, maxHelperOut}
	cmd.WaitDelay = time.Second
	if err := cmd.Run(); err != nil {
		// Helpers give their errors on standard output.
		text := strings.TrimSpace(out.String() + says.String())
		if verb == "get" && text != "" && !strings.Contains(text, "credentials not found") &&
			strings.Contains(text, "Secret") {
			text = "" // half an answer may hold the secret
		}
		return nil, &helperError{helper: helper, verb: verb, says: text, err: err}
	}
	return out.Bytes(), nil
}

// limitedWriter fails when more comes than it takes.
type limitedWriter struct {
	w    io.Writer
	left int
}

func (l *limitedWriter) Write(p []byte) (int, error) {
	if len(p) > l.left {
		return 0, errors.New("the output is too long")
	}
	l.left -= len(p)
	return l.w.Write(p)
}
