package site

import (
	"path"
	"slices"
	"strings"
)

// What a name can tell. Names are compared in lower case: a web server on a file
// system that ignores case would serve .ENV for .env.
const (
	holdsSecrets  = "it holds secrets by its name"
	holdsPassword = "it holds passwords or tokens by its name"
	isKeyStore    = "it is a key store by its name"
	isKey         = "it is a private key by its name"
	isClone       = "it holds the history of the source"
)

// secretNames are base names of files.
var secretNames = map[string]string{
	".env":              holdsSecrets,
	".envrc":            holdsSecrets,
	".npmrc":            holdsPassword,
	".pypirc":           holdsPassword,
	".netrc":            holdsPassword,
	"_netrc":            holdsPassword,
	".git-credentials":  holdsPassword,
	".htpasswd":         holdsPassword,
	".dockercfg":        holdsPassword,
	".dockerconfigjson": holdsPassword,
	"kubeconfig":        holdsPassword,
	"id_rsa":            isKey,
	"id_dsa":            isKey,
	"id_ecdsa":          isKey,
	"id_ecdsa_sk":       isKey,
	"id_ed25519":        isKey,
	"id_ed25519_sk":     isKey,
}

// secretDirs are base names, of directories in the first place. The others may be
// a page's directory: docs have a /kubeconfig/.
var secretDirs = map[string]string{
	".ssh": "it holds private keys by its name",
	".git": isClone,
	".hg":  isClone,
	".svn": isClone,
}

// secretBelow are base names that tell something in one directory only.
var secretBelow = map[string]string{
	".aws/credentials":    holdsPassword,
	".docker/config.json": holdsPassword,
	".kube/config":        holdsPassword,
}

// secretEndings are those of files that hold private keys in whatever form.
var secretEndings = map[string]string{
	".p12":      isKeyStore,
	".pfx":      isKeyStore,
	".jks":      isKeyStore,
	".keystore": isKeyStore,
	".ppk":      isKey,
}

// harmlessEnv are the endings of .env files that are written to be published:
// they have the names of the variables and no values.
var harmlessEnv = []string{".example", ".sample", ".template", ".dist", ".defaults"}

// A content is what to look for in a file whose name leaves it open.
type content struct {
	words []string // any of these is a finding
	what  string   // the finding
}

// privateKey tells a key from a certificate: both have these names.
var privateKey = &content{
	// All of PKCS #1, PKCS #8, SEC 1, OpenSSH and PGP say so in their first line.
	words: []string{"PRIVATE KEY"},
	what:  "it holds a private key",
}

// yarnAuth tells a .yarnrc.yml with credentials from an ordinary one.
var yarnAuth = &content{
	words: []string{"npmAuthToken", "npmAuthIdent"},
	what:  "it holds credentials for a package registry",
}

// judgeName says what the name of a path alone tells: a finding, or what to look
// for in the content, or neither.
func judgeName(name string, isDir bool) (what string, look *content) {
	base := strings.ToLower(path.Base(name))
	if what := secretDirs[base]; what != "" || isDir {
		return what, nil
	}
	if what := secretNames[base]; what != "" {
		return what, nil
	}
	if strings.HasPrefix(base, ".env.") {
		if slices.Contains(harmlessEnv, path.Ext(base)) {
			return "", nil
		}
		return holdsSecrets, nil
	}
	ext := path.Ext(base)
	if what := secretEndings[ext]; what != "" {
		return what, nil
	}
	switch {
	case ext == ".pem" || ext == ".key":
		return "", privateKey
	case base == ".yarnrc.yml":
		return "", yarnAuth
	}
	parent := strings.ToLower(path.Base(path.Dir(name)))
	return secretBelow[parent+"/"+base], nil
}
