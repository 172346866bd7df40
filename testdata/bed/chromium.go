package bed

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"time"
)

// A Browser is a headless Chromium with a profile of its own, which it leaves
// nothing of. It is driven by the DevTools protocol through a pair of pipes, so it
// listens on no port. Its methods may be called concurrently.
type Browser struct {
	process *process
	profile string
	to      *os.File
	read    chan struct{} // closed when Chromium has said its last word

	mu    sync.Mutex
	last  int                  // number of a call
	calls map[int]chan<- reply // that wait for an answer
	tabs  map[string]*Tab      // by session
}

// Bounds of what Chromium may say and take.
const (
	maxMessage   = 64 << 20
	callTimeout  = 30 * time.Second
	closeTimeout = 5 * time.Second
)

// chromiumFlags are for pages of the tests alone. The sandbox would need user
// namespaces, which a container may not have, or a user who is not root.
func chromiumFlags(profile string) []string {
	return []string{"--headless=new", "--remote-debugging-pipe", "--user-data-dir=" + profile,
		"--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--no-proxy-server", "--disable-sync",
		"--disable-background-networking", "--disable-component-update", "--disable-extensions", "about:blank"}
}

// Browser starts Chromium, which must be installed: else the error is a
// *MissingError. It ends with ctx, if not before by Close.
func (b *Bed) Browser(ctx context.Context) (_ *Browser, err error) {
	tool, err := b.Tool(ctx, "chromium")
	if err != nil {
		return nil, err
	}
	profile, err := os.MkdirTemp("", "bed-chromium-")
	if err != nil {
		return nil, fmt.Errorf("making a profile for Chromium: %w", err)
	}
	br := &Browser{profile: profile, read: make(chan struct{}),
		calls: map[int]chan<- reply{}, tabs: map[string]*Tab{}}
	if err := br.start(ctx, tool); err != nil {
		return nil, errors.Join(fmt.Errorf("starting Chromium: %w", err), os.RemoveAll(profile))
	}
	return br, nil
}

func (br *Browser) start(ctx context.Context, tool *Tool) error {
	theirs, to, err := os.Pipe()
	if err != nil {
		return err
	}
	defer theirs.Close()
	from, answers, err := os.Pipe()
	if err != nil {
		return errors.Join(err, to.Close())
	}
	defer answers.Close()
	cmd := tool.Command(ctx, chromiumFlags(br.profile)...)
	cmd.ExtraFiles = []*os.File{theirs, answers} // 3 and 4, as the protocol has it
	cmd.Env = append(os.Environ(),
		"HOME="+br.profile, "XDG_CONFIG_HOME="+br.profile, "XDG_CACHE_HOME="+br.profile)
	if br.process, err = startProcess(cmd); err != nil {
		return errors.Join(err, to.Close(), from.Close())
	}
	br.to = to
	go br.listen(from)
	return nil
}

// Close ends Chromium and removes its profile.
func (br *Browser) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	_, err := br.call(ctx, "", "Browser.close", nil)
	select {
	case <-br.process.done:
	case <-ctx.Done():
	}
	br.process.stop()
	<-br.read
	if errors.Is(err, errEnded) {
		err = nil // that is what was asked for
	}
	return errors.Join(err, br.to.Close(), removeProfile(br.profile))
}

// removeProfile tries again for a while: a child of Chromium may still write.
func removeProfile(dir string) error {
	err := os.RemoveAll(dir)
	for end := time.Now().Add(closeTimeout); err != nil && time.Now().Before(end); err = os.RemoveAll(dir) {
		time.Sleep(20 * time.Millisecond)
	}
	return err
}

// message is what goes to and comes from Chromium, ended by a zero byte.
type message struct {
	ID      int                       `json:"id,omitempty"`
	Session string                    `json:"sessionId,omitempty"`
	Method  string                    `json:"method,omitempty"`
	Params  any                       `json:"params,omitempty"`
	Result  json.RawMessage           `json:"result,omitempty"`
	Error   *struct{ Message string } `json:"error,omitempty"`
}

type reply struct {
	result json.RawMessage
	err    error
}

var errEnded = errors.New("the browser has ended")

// call makes a call and waits for its answer; session "" is the browser itself.
func (br *Browser) call(ctx context.Context, session, method string, params any) (json.RawMessage, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	answer := make(chan reply, 1)
	if err := br.send(message{Session: session, Method: method, Params: params}, answer); err != nil {
		return nil, fmt.Errorf("calling %s: %w", method, err)
	}
	select {
	case r := <-answer:
		if r.err != nil {
			return nil, fmt.Errorf("calling %s: %w", method, r.err)
		}
		return r.result, nil
	case <-br.read:
		return nil, fmt.Errorf("calling %s: %w", method, errEnded)
	case <-ctx.Done():
		return nil, fmt.Errorf("calling %s: %w", method, ctx.Err())
	}
}

func (br *Browser) send(m message, answer chan<- reply) error {
	br.mu.Lock()
	defer br.mu.Unlock()
	br.last++
	m.ID = br.last
	data, err := json.Marshal(m)
	if err != nil {
		return err
	}
	br.calls[m.ID] = answer
	_, err = br.to.Write(append(data, 0))
	return err
}

// listen hands on what Chromium says, until it ends. What it says of a page comes
// before its answer to a later call.
func (br *Browser) listen(from *os.File) {
	defer close(br.read)
	defer from.Close() // only read
	lines := bufio.NewScanner(from)
	lines.Buffer(nil, maxMessage)
	lines.Split(untilZero)
	for lines.Scan() {
		m := message{Params: &json.RawMessage{}}
		if json.Unmarshal(lines.Bytes(), &m) != nil {
			continue // it is then missed by who waits for it
		}
		br.mu.Lock()
		answer, tab := br.calls[m.ID], br.tabs[m.Session]
		delete(br.calls, m.ID)
		br.mu.Unlock()
		switch {
		case answer != nil && m.Error != nil:
			answer <- reply{err: errors.New(m.Error.Message)}
		case answer != nil:
			answer <- reply{result: m.Result}
		case tab != nil:
			tab.event(m.Method, *m.Params.(*json.RawMessage))
		}
	}
}

func untilZero(data []byte, atEOF bool) (advance int, token []byte, err error) {
	if i := bytes.IndexByte(data, 0); i >= 0 {
		return i + 1, data[:i], nil
	}
	if atEOF && len(data) > 0 {
		return 0, nil, io.ErrUnexpectedEOF
	}
	return 0, nil, nil
}

// A Tab is a page of a Browser, with a cache that it shares with no other tab.
type Tab struct {
	browser *Browser
	session string
	loaded  chan struct{}

	mu        sync.Mutex
	faults    []string
	responses []Response
	cached    map[string]bool // requests by their id, which memory answers
}

// A Response is what a page got for one of its requests.
type Response struct {
	URL    string
	Status int
	Type   string // of its content, without parameters
	Cached bool   // it was not asked for
}

// Open opens an empty tab.
func (br *Browser) Open(ctx context.Context) (*Tab, error) {
	var made struct{ BrowserContextID, TargetID, SessionID string }
	steps := []struct {
		method string
		params func() map[string]any
	}{
		{"Target.createBrowserContext", func() map[string]any { return nil }},
		{"Target.createTarget", func() map[string]any {
			return map[string]any{"url": "about:blank", "browserContextId": made.BrowserContextID}
		}},
		{"Target.attachToTarget", func() map[string]any {
			return map[string]any{"targetId": made.TargetID, "flatten": true}
		}},
	}
	for _, s := range steps {
		result, err := br.call(ctx, "", s.method, s.params())
		if err == nil {
			err = json.Unmarshal(result, &made)
		}
		if err != nil {
			return nil, fmt.Errorf("opening a tab: %w", err)
		}
	}
	t := &Tab{browser: br, session: made.SessionID, loaded: make(chan struct{}, 1),
		cached: map[string]bool{}}
	br.mu.Lock()
	br.tabs[t.session] = t
	br.mu.Unlock()
	for _, domain := range []string{"Page", "Runtime", "Log", "Network"} {
		if _, err := br.call(ctx, t.session, domain+".enable", nil); err != nil {
			return nil, fmt.Errorf("opening a tab: %w", err)
		}
	}
	return t, nil
}

// Go loads an address as if it were typed in, and returns when the page and what it
// names is loaded. An answer with an error's status is no error.
func (t *Tab) Go(ctx context.Context, url string) error {
	return t.load(ctx, "Page.navigate", map[string]any{"url": url})
}

// Reload loads the page again.
func (t *Tab) Reload(ctx context.Context) error {
	return t.load(ctx, "Page.reload", nil)
}

func (t *Tab) load(ctx context.Context, method string, params map[string]any) error {
	select {
	case <-t.loaded: // of a page before
	default:
	}
	result, err := t.browser.call(ctx, t.session, method, params)
	if err != nil {
		return err
	}
	var outcome struct{ ErrorText string }
	if err := json.Unmarshal(result, &outcome); err != nil {
		return fmt.Errorf("loading a page: %w", err)
	}
	if outcome.ErrorText != "" {
		return fmt.Errorf("loading %v: %s", params["url"], outcome.ErrorText)
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	select {
	case <-t.loaded:
		return nil
	case <-t.browser.read:
		return fmt.Errorf("loading a page: %w", errEnded)
	case <-ctx.Done():
		return fmt.Errorf("loading a page: %w", ctx.Err())
	}
}

// Eval evaluates an expression in the page, waits for it if it is a promise, and
// decodes its value into result, as from JSON; nil is for no value.
func (t *Tab) Eval(ctx context.Context, expression string, result any) error {
	data, err := t.browser.call(ctx, t.session, "Runtime.evaluate",
		map[string]any{"expression": expression, "awaitPromise": true, "returnByValue": true})
	if err != nil {
		return err
	}
	var outcome struct {
		Result           struct{ Value json.RawMessage }
		ExceptionDetails *exception
	}
	if err := json.Unmarshal(data, &outcome); err != nil {
		return fmt.Errorf("evaluating %s: %w", expression, err)
	}
	if e := outcome.ExceptionDetails; e != nil {
		return fmt.Errorf("evaluating %s: %s", expression, e.text())
	}
	if result == nil {
		return nil
	}
	if err := json.Unmarshal(outcome.Result.Value, result); err != nil {
		return fmt.Errorf("evaluating %s: %w", expression, err)
	}
	return nil
}

// Faults returns what the console has shown as an error or a warning since the last
// call: of scripts, of requests that failed, and of what a policy has blocked.
func (t *Tab) Faults() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	faults := t.faults
	t.faults = nil
	return faults
}

// Responses returns what the page got since the last call, in the order of arrival.
func (t *Tab) Responses() []Response {
	t.mu.Lock()
	defer t.mu.Unlock()
	responses := t.responses
	t.responses = nil
	return responses
}

type exception struct {
	Text      string
	Exception struct{ Description string }
}

func (e *exception) text() string { return cmp.Or(e.Exception.Description, e.Text) }

// event takes in what Chromium says of the page.
func (t *Tab) event(method string, params json.RawMessage) {
	var p struct {
		Type             string
		Args             []struct{ Value json.RawMessage }
		ExceptionDetails exception
		RequestID        string
		Entry            struct{ Level, Text, URL string }
		Response         struct {
			URL, MimeType string
			Status        int
			FromDiskCache bool
		}
	}
	if json.Unmarshal(params, &p) != nil {
		return // an event of another form is none of ours
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	serious := []string{"error", "warning", "assert"}
	switch {
	case method == "Page.loadEventFired":
		select {
		case t.loaded <- struct{}{}:
		default:
		}
	case method == "Network.requestServedFromCache":
		t.cached[p.RequestID] = true
	case method == "Network.responseReceived":
		r := p.Response
		cached := r.FromDiskCache || t.cached[p.RequestID]
		t.responses = append(t.responses, Response{r.URL, r.Status, r.MimeType, cached})
	case method == "Runtime.exceptionThrown":
		t.faults = append(t.faults, p.ExceptionDetails.text())
	case method == "Runtime.consoleAPICalled" && slices.Contains(serious, p.Type):
		t.faults = append(t.faults, fmt.Sprintf("console.%s: %s", p.Type, p.Args))
	case method == "Log.entryAdded" && slices.Contains(serious, p.Entry.Level):
		t.faults = append(t.faults, p.Entry.Text+" ("+p.Entry.URL+")")
	}
}
