package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Token servers: https://distribution.github.io/distribution/spec/auth/token/
// and, for identity tokens, /spec/auth/oauth/.

const (
	maxTokenBody = 1 << 20
	// defaultTokenLife is what the protocol says of an answer without expires_in.
	defaultTokenLife = time.Minute
	// maxPulledScopes bounds how many places to mount from a token asks for.
	maxPulledScopes = 8
)

// grant is a token and what it was asked for.
type grant struct {
	header  string
	scopes  []string
	expires time.Time
}

// authorization returns the value of the Authorization header for a request; ""
// if the registry wants none, or there is no credential. stale is one that the
// registry has refused.
func (h *host) authorization(ctx context.Context, r *request, stale string) (string, error) {
	if err := h.acquire(ctx); err != nil {
		return "", err
	}
	defer h.release()
	if h.conn.challenge.scheme == "" {
		return "", nil
	}
	cred, err := h.credential(ctx, r.repo)
	if err != nil {
		return "", err
	}
	r.credential = cred.source
	switch h.conn.challenge.scheme {
	case "basic":
		return cred.basic(), nil
	case "bearer":
		if cred.RegistryToken != "" {
			return "Bearer " + cred.RegistryToken, nil
		}
		return h.token(ctx, r, cred, stale)
	}
	e := h.newError(r)
	e.Err = fmt.Errorf("the registry wants authentication by %q, which is not supported",
		h.conn.challenge.scheme)
	return "", e
}

func (h *host) credential(ctx context.Context, repo string) (credential, error) {
	if h.explicit != nil {
		return *h.explicit, nil
	}
	return h.c.keys.lookup(ctx, place{h.name, repo})
}

// token returns a token that covers the request, a new one if need be.
func (h *host) token(ctx context.Context, r *request, cred credential,
	stale string) (string, error) {
	now := time.Now()
	h.tokens = slices.DeleteFunc(h.tokens, func(g grant) bool {
		return g.header == stale || now.After(g.expires)
	})
	for _, g := range h.tokens {
		if coversAll(g.scopes, r.scopes) {
			return g.header, nil
		}
	}
	scopes := h.scopesFor(r)
	if h.refused[r.repo] {
		cred = credential{}
	}
	g, err := h.fetchToken(ctx, r, cred, scopes)
	if refusal := statusOf(err); !cred.anonymous() && h.explicit == nil && !pushes(scopes) &&
		(refusal == http.StatusUnauthorized || refusal == http.StatusForbidden) {
		// What is public can be pulled although an old password is lying around.
		anonymous, again := h.fetchToken(ctx, r, credential{}, scopes)
		if again == nil {
			h.c.logf("%s refused the credential from %s; pulling without it", h.name, cred.source)
			if h.refused == nil {
				h.refused = map[string]bool{}
			}
			h.refused[r.repo] = true
			g, err = anonymous, nil
		}
	}
	if err != nil {
		return "", err
	}
	h.remember(r.scopes)
	h.tokens = append(h.tokens, g)
	return g.header, nil
}

// scopesFor adds to what a push needs what was pulled before: that is where its
// layers may be mounted from, and one token serves both.
func (h *host) scopesFor(r *request) []string {
	scopes := slices.Clone(r.scopes)
	if pushes(scopes) {
		for _, s := range h.pulled {
			if !coversAll(scopes, []string{s}) {
				scopes = append(scopes, s)
			}
		}
	}
	return scopes
}

func (h *host) remember(scopes []string) {
	for _, s := range scopes {
		known := slices.Contains(h.pulled, s)
		if strings.HasSuffix(s, ":pull") && !known && len(h.pulled) < maxPulledScopes {
			h.pulled = append(h.pulled, s)
		}
	}
}

func pushes(scopes []string) bool {
	return slices.ContainsFunc(scopes, func(s string) bool { return strings.HasSuffix(s, "push") })
}

func coversAll(has, want []string) bool {
	for _, w := range want {
		byPush := strings.HasSuffix(w, ":pull") && slices.Contains(has, w+",push")
		if !byPush && !slices.Contains(has, w) {
			return false
		}
	}
	return true
}

// fetchToken asks the registry's token server.
func (h *host) fetchToken(ctx context.Context, r *request, cred credential,
	scopes []string) (grant, error) {
	realm, err := h.realm()
	if err != nil {
		e := h.newError(r)
		e.Err = err
		return grant{}, e
	}
	asks := h.tokenRequest(realm, cred, scopes)
	asks.op, asks.ref = r.op, r.ref
	server := h.c.tokenServer(h, realm)
	auth := cred.basic()
	if cred.IdentityToken != "" {
		auth = ""
	}
	resp, err := server.retrying(ctx, asks, func(ctx context.Context) (*http.Response, error) {
		return server.attempt(ctx, server.conn, asks, auth)
	})
	if err != nil {
		var e *Error
		if errors.As(err, &e) {
			e.Registry, e.credential, e.push = h.name, cred.source, pushes(scopes)
			e.Err = fmt.Errorf("asking %s for a token: %w", realm.Host, orStatus(e))
		}
		return grant{}, err
	}
	defer discard(resp)
	g, err := readToken(resp.Body, time.Now())
	if err != nil {
		e := h.newError(r)
		e.Err = fmt.Errorf("asking %s for a token: %w", realm.Host, err)
		return grant{}, e
	}
	g.scopes = scopes
	return g, nil
}

func orStatus(e *Error) error {
	if e.Err != nil {
		return e.Err
	}
	return errors.New("refused")
}

// realm returns the token server's address. It is sent credentials, so it must
// be as safe as the registry.
func (h *host) realm() (*url.URL, error) {
	u, err := url.Parse(h.conn.challenge.params["realm"])
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, errors.New("the registry names no usable token server")
	}
	u.Host = strings.ToLower(u.Host)
	if u.Scheme != "https" && !h.c.mayBePlain(u.Host) {
		return nil, fmt.Errorf("refusing to send credentials over http to the token server %s", u.Host)
	}
	return u, nil
}

// tokenServer is a host that is only asked for tokens.
func (c *Client) tokenServer(h *host, realm *url.URL) *host {
	conn := &connection{scheme: realm.Scheme, rt: c.transportFor(realm.Host)}
	if h.sameHost(realm.Host) && realm.Scheme == h.conn.scheme {
		conn.rt = h.conn.rt
	}
	return &host{c: c, name: realm.Host, lock: make(chan struct{}, 1), conn: conn}
}

func (h *host) tokenRequest(realm *url.URL, cred credential, scopes []string) *request {
	u, service := *realm, h.conn.challenge.params["service"]
	if cred.IdentityToken != "" {
		form := url.Values{
			"grant_type": {"refresh_token"}, "refresh_token": {cred.IdentityToken},
			"client_id": {"decant"}, "service": {service}, "scope": {strings.Join(scopes, " ")},
		}.Encode()
		return &request{
			method: http.MethodPost, url: u.String(), ok: []int{http.StatusOK},
			header: http.Header{"Content-Type": {"application/x-www-form-urlencoded"}},
			body:   func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(form)), nil },
			size:   int64(len(form)),
		}
	}
	q := u.Query()
	if service != "" {
		q.Set("service", service)
	}
	q["scope"] = scopes
	if cred.Username != "" {
		q.Set("account", cred.Username)
	}
	u.RawQuery = q.Encode()
	return &request{method: http.MethodGet, url: u.String(), ok: []int{http.StatusOK}}
}

func readToken(body io.Reader, now time.Time) (grant, error) {
	data, err := io.ReadAll(io.LimitReader(body, maxTokenBody+1))
	if err != nil {
		return grant{}, err
	}
	var answer struct {
		Token       string `json:"token"`
		AccessToken string `json:"access_token"`
		ExpiresIn   int64  `json:"expires_in"`
	}
	// The text of a JSON error may quote the token.
	if len(data) > maxTokenBody || json.Unmarshal(data, &answer) != nil {
		return grant{}, errors.New("the answer is not JSON with a token")
	}
	token := answer.Token
	if token == "" {
		token = answer.AccessToken
	}
	if token == "" || strings.ContainsAny(token, "\r\n") {
		return grant{}, errors.New("the answer has no token")
	}
	life := defaultTokenLife
	if answer.ExpiresIn > 0 {
		life = time.Duration(min(answer.ExpiresIn, 1<<31)) * time.Second
	}
	// A new one is fetched a little early: requests take time to arrive.
	return grant{header: "Bearer " + token, expires: now.Add(life - min(life/5, 10*time.Second))}, nil
}
