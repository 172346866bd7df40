package registry

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/google/go-containerregistry/pkg/authn"
)

// maxAuthFile bounds a file with credentials.
const maxAuthFile = 4 << 20

// authVariable holds what else is in a docker config.
const authVariable = "DOCKER_AUTH_CONFIG"

// hubKey is the name that docker's files have for Docker Hub, for reasons that
// are history.
const hubKey = "https://index.docker.io/v1/"

// credential is what a registry knows somebody by, and where it was found. The
// zero value is anonymous.
type credential struct {
	authn.AuthConfig
	source string
}

func (c credential) anonymous() bool { return c.AuthConfig == authn.AuthConfig{} }

// basic is the value of an Authorization header, "" without a password.
func (c credential) basic() string {
	switch {
	case c.Auth != "":
		return "Basic " + c.Auth
	case c.Username == "" && c.Password == "":
		return ""
	}
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(c.Username+":"+c.Password))
}

// keychain finds credentials, once for each repository.
type keychain struct {
	given authn.Keychain
	logf  func(string, ...any)
	state *keychainState
}

type keychainState struct {
	mu     sync.Mutex
	files  []authFile
	loaded bool
	found  map[place]credential
	said   map[string]bool
}

func newKeychain(given authn.Keychain, logf func(string, ...any)) keychain {
	return keychain{given: given, logf: logf,
		state: &keychainState{found: map[place]credential{}, said: map[string]bool{}}}
}

// lookup returns the credential for a repository, or for a registry if repo is
// "". Callers wait for each other: a helper that asks a person asks once.
func (k keychain) lookup(ctx context.Context, p place) (credential, error) {
	s := k.state
	s.mu.Lock()
	defer s.mu.Unlock()
	if c, ok := s.found[p]; ok {
		return c, nil
	}
	c, err := k.find(ctx, p)
	if err != nil {
		return c, fmt.Errorf("looking for the credential of %s: %w", p.host, err)
	}
	s.found[p] = c
	if line := p.host + c.source; !s.said[line] {
		s.said[line] = true
		if c.anonymous() {
			k.logf("%s: no credential found, going on without", p.host)
		} else {
			k.logf("%s: credential from %s", p.host, c.source)
		}
	}
	return c, nil
}

func (k keychain) find(ctx context.Context, p place) (credential, error) {
	if k.given != nil {
		auth, err := authn.Resolve(ctx, k.given, resource(p))
		if err != nil {
			return credential{}, err
		}
		config, err := authn.Authorization(ctx, auth)
		if err != nil || config == nil {
			return credential{}, err
		}
		return credential{*config, "the caller's keychain"}, nil
	}
	if !k.state.loaded {
		files, err := authFiles()
		if err != nil {
			return credential{}, err
		}
		k.state.files, k.state.loaded = files, true
	}
	for _, f := range k.state.files {
		c, err := f.lookup(ctx, p)
		if err != nil || !c.anonymous() {
			return c, err
		}
	}
	return credential{}, nil
}

// resource is a place as keychains want it.
type resource place

func (r resource) String() string {
	if r.repo == "" {
		return r.host
	}
	return r.host + "/" + r.repo
}
func (r resource) RegistryStr() string { return r.host }

// authFile is the part of a docker config, or of podman's auth.json, that is
// about credentials.
type authFile struct {
	path    string
	Auths   map[string]authEntry `json:"auths"`
	Store   string               `json:"credsStore"`
	Helpers map[string]string    `json:"credHelpers"`
}

type authEntry struct {
	Auth          string `json:"auth"`
	Username      string `json:"username"`
	Password      string `json:"password"`
	IdentityToken string `json:"identitytoken"`
	RegistryToken string `json:"registrytoken"`
}

// authFiles reads the places where credentials may be, best first: what other
// tools of the same user find must be found here.
func authFiles() ([]authFile, error) {
	var files []authFile
	if env := os.Getenv(authVariable); env != "" {
		f, err := parseAuthFile(authVariable, []byte(env))
		if err != nil {
			return nil, err
		}
		files = append(files, f)
	}
	paths := []string{}
	if dir, err := dockerConfigDir(); err == nil {
		paths = append(paths, filepath.Join(dir, "config.json"))
	}
	paths = append(paths, os.Getenv("REGISTRY_AUTH_FILE"))
	if dir := os.Getenv("XDG_RUNTIME_DIR"); dir != "" {
		paths = append(paths, filepath.Join(dir, "containers", "auth.json"))
	}
	if dir := xdgConfigDir(); dir != "" {
		paths = append(paths, filepath.Join(dir, "containers", "auth.json"))
	}
	for _, path := range paths {
		if path == "" {
			continue
		}
		data, err := readAuthFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		f, err := parseAuthFile(path, data)
		if err != nil {
			return nil, err
		}
		files = append(files, f)
	}
	return files, nil
}

func dockerConfigDir() (string, error) {
	if dir := os.Getenv("DOCKER_CONFIG"); dir != "" {
		return dir, nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", &ConfigError{Op: "finding", File: "the docker config", Err: err}
	}
	return filepath.Join(home, ".docker"), nil
}

func xdgConfigDir() string {
	if dir := os.Getenv("XDG_CONFIG_HOME"); dir != "" {
		return dir
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return ""
	}
	return filepath.Join(home, ".config")
}

func readAuthFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, &ConfigError{Op: reading, File: path, Err: bare(err)}
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxAuthFile+1))
	if err == nil && len(data) > maxAuthFile {
		err = fmt.Errorf("it is longer than %d bytes", maxAuthFile)
	}
	if err != nil {
		return nil, &ConfigError{Op: reading, File: path, Err: bare(err)}
	}
	return data, nil
}

func parseAuthFile(path string, data []byte) (authFile, error) {
	f := authFile{path: path}
	if len(strings.TrimSpace(string(data))) == 0 {
		return f, nil
	}
	// The error of encoding/json may quote the text, which holds passwords.
	if err := json.Unmarshal(data, &f); err != nil {
		return f, &ConfigError{Op: reading, File: path, Line: faultyLine(data, err), Err: errNoConfig}
	}
	return f, nil
}

var errNoConfig = errors.New("it is not the JSON of a docker config")

// faultyLine is where encoding/json stopped, 0 if it does not say.
func faultyLine(data []byte, err error) int {
	var syntax *json.SyntaxError
	var mismatch *json.UnmarshalTypeError
	var offset int64
	switch {
	case errors.As(err, &syntax):
		offset = syntax.Offset
	case errors.As(err, &mismatch):
		offset = mismatch.Offset
	default:
		return 0
	}
	return 1 + bytes.Count(data[:min(max(offset-1, 0), int64(len(data)))], []byte("\n"))
}

// lookup finds the entry for a repository: the most exact of its name's
// prefixes, as podman has it, then the host in the spellings that docker has had.
func (f authFile) lookup(ctx context.Context, p place) (credential, error) {
	server := serverName(p.host)
	if helper := f.helper(p.host); helper != "" {
		c, err := getCredential(ctx, helper, server)
		if err != nil || !c.anonymous() {
			return c, err
		}
	}
	for _, key := range authKeys(p) {
		entry, ok := f.Auths[key]
		if !ok {
			continue
		}
		c, err := entry.credential()
		if err != nil {
			return c, fmt.Errorf("reading %s: the entry of %s is malformed", f.path, key)
		}
		if !c.anonymous() {
			c.source = f.path
			return c, nil
		}
	}
	return credential{}, nil
}

func (f authFile) helper(host string) string {
	for _, key := range hostKeys(host) {
		if h, ok := f.Helpers[key]; ok {
			return h
		}
	}
	return f.Store
}

func (e authEntry) credential() (credential, error) {
	c := credential{AuthConfig: authn.AuthConfig{
		Username: e.Username, Password: e.Password,
		IdentityToken: e.IdentityToken, RegistryToken: e.RegistryToken,
	}}
	if e.Auth == "" {
		return c, nil
	}
	raw, err := base64.StdEncoding.DecodeString(e.Auth)
	if err != nil {
		return c, err
	}
	user, password, ok := strings.Cut(string(raw), ":")
	if !ok {
		return c, errors.New("no colon")
	}
	c.Username, c.Password = user, strings.Trim(password, "\x00")
	return c, nil
}

// serverName is a registry's name in docker's files and helpers.
func serverName(host string) string {
	if host == "index.docker.io" {
		return hubKey
	}
	return host
}

func hostKeys(host string) []string {
	if host == "index.docker.io" {
		return []string{hubKey, "docker.io", "index.docker.io", "registry-1.docker.io"}
	}
	return []string{host}
}

func authKeys(p place) []string {
	var keys []string
	for repo := p.repo; repo != ""; {
		for _, h := range hostKeys(p.host) {
			if !strings.Contains(h, "://") {
				keys = append(keys, h+"/"+repo)
			}
		}
		i := strings.LastIndexByte(repo, '/')
		repo = repo[:max(i, 0)]
	}
	for _, h := range hostKeys(p.host) {
		keys = append(keys, h)
		if !strings.Contains(h, "://") {
			keys = append(keys, "https://"+h, "https://"+h+"/", "https://"+h+"/v1/", "https://"+h+"/v2/",
				"http://"+h)
		}
	}
	return keys
}
