package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
)

// Login checks a user name and password, or token, with a registry, and keeps
// them for it and other tools: in the credential helper that the docker config
// ($DOCKER_CONFIG, or ~/.docker/config.json) names for the host, or else in that
// file. If the registry refuses them nothing is changed.
func (c *Client) Login(ctx context.Context, hostname, user, password string) error {
	h, err := loginHost(hostname)
	if err != nil {
		return err
	}
	if err := c.verifyLogin(ctx, h, user, password); err != nil {
		return err
	}
	f, err := openDockerConfig()
	if err != nil {
		return fmt.Errorf("keeping the login of %s: %w", h, err)
	}
	server := serverName(h)
	entry := struct {
		Auth string `json:"auth,omitempty"`
	}{}
	if helper := f.parsed.helper(h); helper != "" {
		// docker lists the host without a secret, to know that the helper has one.
		err = storeCredential(ctx, helper, helperAnswer{server, user, password})
	} else {
		cred := credential{AuthConfig: authn.AuthConfig{Username: user, Password: password}}
		entry.Auth = strings.TrimPrefix(cred.basic(), "Basic ")
	}
	if err == nil {
		err = f.set(server, entry)
	}
	if err != nil {
		return fmt.Errorf("keeping the login of %s: %w", h, err)
	}
	return nil
}

// Logout forgets what Login kept. That there is nothing is no error: found says
// so. A credential helper may not tell what it had.
func (c *Client) Logout(ctx context.Context, hostname string) (found bool, err error) {
	h, err := loginHost(hostname)
	if err != nil {
		return false, err
	}
	f, err := openDockerConfig()
	if err != nil {
		return false, fmt.Errorf("forgetting the login of %s: %w", h, err)
	}
	var kept bool
	if helper := f.parsed.helper(h); helper != "" {
		kept, err = eraseCredential(ctx, helper, serverName(h))
	}
	listed, fileErr := f.remove(h)
	if err = errors.Join(err, fileErr); err != nil {
		return false, fmt.Errorf("forgetting the login of %s: %w", h, err)
	}
	return kept || listed, nil
}

// loginHost accepts a host as people write it, with a scheme or a path too.
func loginHost(s string) (string, error) {
	bare := strings.TrimPrefix(strings.TrimPrefix(s, "https://"), "http://")
	bare, _, _ = strings.Cut(bare, "/")
	r, err := name.NewRegistry(bare)
	if err != nil || bare == "" {
		return "", &RefError{Ref: s, Err: errors.New("it is not a registry's host"),
			fix: "write a host, as registry.example.com"}
	}
	return hostName(r.RegistryStr()), nil
}

func (c *Client) verifyLogin(ctx context.Context, name, user, password string) error {
	h := &host{c: c, name: name, lock: make(chan struct{}, 1), explicit: &credential{
		AuthConfig: authn.AuthConfig{Username: user, Password: password}, source: "the login",
	}}
	resp, err := h.do(ctx, &request{
		op: "logging in to", method: http.MethodGet, url: "/v2/", ok: []int{http.StatusOK},
	})
	if err != nil {
		var e *Error
		if errors.As(err, &e) && e.Status == http.StatusUnauthorized {
			refused := *e
			refused.fix = "check user name and password; " +
				"many registries want an access token instead of the password"
			return &refused
		}
		return err
	}
	discard(resp)
	return nil
}

// dockerConfig is a docker config that is changed in place: what decant does not
// know stays as it is, byte for byte.
type dockerConfig struct {
	path   string
	object jsonObject
	parsed authFile
}

func openDockerConfig() (*dockerConfig, error) {
	dir, err := dockerConfigDir()
	if err != nil {
		return nil, err
	}
	f := &dockerConfig{path: filepath.Join(dir, "config.json")}
	// A file that is a link to a managed one stays a link.
	if real, err := filepath.EvalSymlinks(f.path); err == nil {
		f.path = real
	}
	data, err := readAuthFile(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return f, nil
	}
	if err != nil {
		return nil, err
	}
	if f.parsed, err = parseAuthFile(f.path, data); err != nil {
		return nil, err
	}
	if len(strings.TrimSpace(string(data))) > 0 {
		f.object, err = parseObject(data)
	}
	if err != nil {
		return nil, &ConfigError{Op: reading, File: f.path, Line: faultyLine(data, err), Err: errNoConfig}
	}
	return f, nil
}

func (f *dockerConfig) auths() (jsonObject, error) {
	raw := f.object.get("auths")
	if raw == nil || string(raw) == "null" {
		return nil, nil
	}
	return parseObject(raw)
}

func (f *dockerConfig) set(server string, entry any) error {
	auths, err := f.auths()
	if err != nil {
		return err
	}
	raw, err := json.Marshal(entry)
	if err != nil {
		return err
	}
	f.object.set("auths", auths.with(server, raw).text("\t"))
	return f.write()
}

// remove reports whether the host had an entry.
func (f *dockerConfig) remove(host string) (bool, error) {
	auths, err := f.auths()
	if err != nil {
		return false, err
	}
	kept := auths
	for _, key := range authKeys(place{host: host}) {
		kept = kept.without(key)
	}
	if len(kept) == len(auths) {
		return false, nil
	}
	f.object.set("auths", kept.text("\t"))
	return true, f.write()
}

// write replaces the file. os.CreateTemp makes it readable to its owner only.
func (f *dockerConfig) write() error {
	err := os.MkdirAll(filepath.Dir(f.path), 0o700)
	if err == nil {
		err = replaceFile(f.path, append(f.object.text(""), '\n'))
	}
	if err != nil {
		return &ConfigError{Op: "writing", File: f.path, Err: bare(err)}
	}
	return nil
}
