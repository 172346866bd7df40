package registrytest

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
)

// authority decides who may ask.
type authority struct {
	opts   Options
	mu     sync.Mutex
	tokens map[string]*token
}

// token is a bearer token that was given out.
type token struct {
	scopes []string
	uses   int
}

// serveToken gives a token for the scopes asked for.
func (a *authority) serveToken(w http.ResponseWriter, q *http.Request) {
	if err := q.ParseForm(); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	user, password, has := q.BasicAuth()
	if q.PostForm.Get("grant_type") == "refresh_token" {
		user, password, has = a.opts.User, q.PostForm.Get("refresh_token"), true
	}
	known := has && user == a.opts.User && password == a.opts.Password
	if has && !known {
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprint(w, `{"details":"incorrect username or password"}`)
		return
	}
	var granted []string
	for _, s := range q.Form["scope"] {
		for _, scope := range strings.Fields(s) {
			if known || a.opts.User == "" || a.public(scope) {
				granted = append(granted, scope)
			}
		}
	}
	value := rand.Text()
	a.mu.Lock()
	a.tokens[value] = &token{scopes: granted}
	a.mu.Unlock()
	answer := map[string]any{"token": value}
	if a.opts.ExpiresIn != 0 {
		answer["expires_in"] = a.opts.ExpiresIn
	}
	_ = json.NewEncoder(w).Encode(answer)
}

// public tells whether a scope only pulls from a public repository.
func (a *authority) public(scope string) bool {
	parts := strings.Split(scope, ":")
	return len(parts) == 3 && parts[2] == "pull" && slices.Contains(a.opts.Public, parts[1])
}

// admit lets a request in or answers it with 401.
func (a *authority) admit(w http.ResponseWriter, q *http.Request) bool {
	switch {
	case a.opts.Token:
		return a.admitToken(w, q)
	case a.opts.User != "":
		user, password, _ := q.BasicAuth()
		if user == a.opts.User && password == a.opts.Password {
			return true
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
		deny(w, http.StatusUnauthorized, "UNAUTHORIZED", "authentication required")
		return false
	}
	return true
}

func (a *authority) admitToken(w http.ResponseWriter, q *http.Request) bool {
	repo, _, _ := splitPath(q.URL.Path)
	needed := []string{}
	if repo != "" {
		needed = append(needed, "repository:"+repo+":pull")
		if q.Method != http.MethodGet && q.Method != http.MethodHead {
			needed[0] += ",push"
		}
	}
	if from := q.URL.Query().Get("from"); from != "" {
		needed = append(needed, "repository:"+from+":pull")
	}
	value, _ := strings.CutPrefix(q.Header.Get("Authorization"), "Bearer ")
	a.mu.Lock()
	defer a.mu.Unlock()
	if t := a.tokens[value]; t != nil && a.covers(t, needed) {
		t.uses++
		if a.opts.TokenUses == 0 || t.uses <= a.opts.TokenUses {
			return true
		}
	}
	scheme := "http"
	if q.TLS != nil {
		scheme = "https"
	}
	challenge := fmt.Sprintf(`Bearer realm="%s://%s/token",service="test"`, scheme, q.Host)
	if len(needed) > 0 {
		challenge += fmt.Sprintf(",scope=%q", needed[0])
	}
	w.Header().Set("WWW-Authenticate", challenge)
	deny(w, http.StatusUnauthorized, "UNAUTHORIZED", "authentication required")
	return false
}

func (a *authority) covers(t *token, needed []string) bool {
	for _, n := range needed {
		if !slices.Contains(t.scopes, n) &&
			!slices.Contains(t.scopes, strings.TrimSuffix(n, "pull")+"pull,push") {
			return false
		}
	}
	return true
}

// deny answers with an error in the registries' form.
func deny(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{
		"errors": []map[string]string{{"code": code, "message": message}},
	})
}
