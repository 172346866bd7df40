package registry

import "github.com/google/go-containerregistry/pkg/authn"

// keys is a keychain with one account for all registries.
type keys struct{ user, password string }

func (k keys) Resolve(authn.Resource) (authn.Authenticator, error) {
	return authn.FromConfig(authn.AuthConfig{Username: k.user, Password: k.password}), nil
}
