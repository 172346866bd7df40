package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
)

// maxRedirects is how often one request is sent elsewhere.
const maxRedirects = 5

// attempt sends a request once, following redirects. auth goes to the registry
// itself only. The response's body is watched; closing it ends the attempt.
func (h *host) attempt(ctx context.Context, conn *connection, r *request,
	auth string) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	dog := newWatchdog(h.c.timing.stall, func() { cancel(errStalled) })
	finish := func() { dog.rest(); cancel(nil) }
	cause := func(err error) error {
		if errors.Is(context.Cause(ctx), errStalled) {
			return errStalled
		}
		return err
	}
	resp, err := h.follow(ctx, conn, r, auth, dog)
	if err != nil {
		err = cause(err)
		finish()
		return nil, err
	}
	dog.rest()
	resp.Body = &receivedBody{ReadCloser: resp.Body, dog: dog, cause: cause, finish: finish}
	return resp, nil
}

func (h *host) follow(ctx context.Context, conn *connection, r *request, auth string,
	dog *watchdog) (*http.Response, error) {
	target, err := h.resolve(conn, r.url)
	if err != nil {
		return nil, err
	}
	for hop := 0; hop <= maxRedirects; hop++ {
		resp, err := h.send(ctx, conn, r, target, auth, dog)
		if err != nil {
			return nil, err
		}
		next := resp.Header.Get("Location")
		if !isRedirect(r, resp.StatusCode) || next == "" {
			return resp, nil
		}
		discard(resp)
		from := target
		if target, err = target.Parse(next); err != nil {
			return nil, errors.New("the redirect is malformed")
		}
		if target.Scheme != "https" && (target.Scheme != "http" ||
			from.Scheme == "https" && !h.c.mayBePlain(target.Host)) {
			return nil, fmt.Errorf("refusing a redirect from %s to %s://%s",
				from.Scheme, target.Scheme, target.Host)
		}
	}
	return nil, errRedirects
}

// isRedirect tells whether to send the request again, elsewhere. 301 to 303
// would turn a write into a read.
func isRedirect(r *request, status int) bool {
	switch status {
	case http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return true
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther:
		return !r.writes()
	}
	return false
}

// resolve makes a URL absolute. A location on the registry itself keeps the
// scheme of the ping: behind a proxy that ends TLS many registries say http.
func (h *host) resolve(conn *connection, ref string) (*url.URL, error) {
	base := &url.URL{Scheme: conn.scheme, Host: h.name, Path: "/"}
	u, err := base.Parse(ref)
	if err != nil || u.Host == "" {
		return nil, errors.New("the registry gave a malformed location")
	}
	if h.sameHost(u.Host) {
		u.Scheme = conn.scheme
	}
	if u.Scheme != "https" && !h.c.mayBePlain(u.Host) {
		return nil, fmt.Errorf("refusing to use %s://%s", u.Scheme, u.Host)
	}
	return u, nil
}

func (h *host) send(ctx context.Context, conn *connection, r *request, u *url.URL, auth string,
	dog *watchdog) (*http.Response, error) {
	dog.expect(dog.after)
	req, err := http.NewRequestWithContext(ctx, r.method, u.String(), nil)
	if err != nil {
		return nil, errors.New("the registry gave a malformed location")
	}
	for k, v := range r.header {
		req.Header[k] = v
	}
	req.Header.Set("User-Agent", h.c.opts.UserAgent)
	if r.body != nil {
		if err := h.addBody(req, r, dog); err != nil {
			return nil, err
		}
	}
	rt := h.c.transportFor(u.Host)
	if h.sameHost(u.Host) && u.Scheme == conn.scheme {
		rt = conn.rt
		if auth != "" {
			req.Header.Set("Authorization", auth)
		}
	}
	h.c.requests.Add(1)
	return rt.RoundTrip(req)
}

// addBody opens the body. The transport may open it again by itself, when a
// connection it kept turns out to be closed.
func (h *host) addBody(req *http.Request, r *request, dog *watchdog) error {
	open := func() (io.ReadCloser, error) {
		body, err := r.body()
		if err != nil {
			return nil, err
		}
		return &sentBody{ReadCloser: body, dog: dog, answer: h.c.timing.answerTime(r.size)}, nil
	}
	if r.size == 0 {
		req.Body = http.NoBody
		return nil
	}
	body, err := open()
	if err != nil {
		return err
	}
	req.Body, req.GetBody, req.ContentLength = body, open, r.size
	if r.cautious {
		req.Header.Set("Expect", "100-continue")
	}
	return nil
}
