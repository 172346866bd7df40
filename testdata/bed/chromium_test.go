package bed

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
)

func TestBrowserTellsWhatAPageDoes(t *testing.T) {
	browser, err := open(t).Browser(t.Context())
	need(t, err)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/" {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = w.Write([]byte(`<!doctype html><title>t</title><link rel=icon href=data:,><script>
			console.log("calm"); console.warn("loud"); document.title += 1</script>
			<script src=gone.js></script>`))
	}))
	defer server.Close()
	tab, err := browser.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := tab.Go(t.Context(), server.URL); err != nil {
			t.Fatal(err)
		}
		var title string
		if err := tab.Eval(t.Context(), "Promise.resolve(document.title)", &title); err != nil || title != "t1" {
			t.Errorf("title %q, %v", title, err)
		}
		faults := strings.Join(tab.Faults(), "\n")
		if !strings.Contains(faults, "loud") || !strings.Contains(faults, "404") ||
			strings.Contains(faults, "calm") {
			t.Errorf("faults: %s", faults)
		}
		responses := tab.Responses()
		if len(responses) != 2 || responses[0].Type != "text/html" ||
			responses[1].Status != http.StatusNotFound {
			t.Errorf("responses: %+v", responses)
		}
	}
	err = tab.Eval(t.Context(), "nothing.there", nil)
	if err == nil || !strings.Contains(err.Error(), "ReferenceError") {
		t.Errorf("an exception came back as %v", err)
	}
	if err := tab.Go(t.Context(), "http://127.0.0.1:1/"); err == nil {
		t.Error("a refused connection is no error")
	}
	if err := browser.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(browser.profile); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the profile is left: %v", err)
	}
	if err := tab.Reload(t.Context()); err == nil {
		t.Error("a closed browser still loads")
	}
}
