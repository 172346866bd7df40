package output

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Every source that cannot be read says what it is about and how to go on.
func TestUnreadableSourcesHaveHints(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	text := write("text.tar", "no archive at all")
	gzip := write("cut.tar.gz", "\x1f\x8b\x08\x00")
	write("layout/"+layoutFile, layoutVersion)
	write("missing/"+layoutFile, layoutVersion)
	hash := strings.Repeat("0", 64)
	entry := func(size string) string {
		return `{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json",` +
			`"digest":"sha256:` + hash + `","size":` + size + `}]}`
	}
	write("missing/"+indexFileName, entry("7"))
	write("negative/"+layoutFile, layoutVersion)
	write("negative/"+indexFileName, entry("-5"))

	for _, tt := range []struct{ source, message, hint string }{
		{"oci:" + dir + "/nope", "nope: it does not exist", "check the path"},
		{"oci-archive:" + dir + "/nope.tar", "it does not exist", "check the path"},
		{"oci-archive:" + text, "it is no tar archive", "it is damaged, or no image"},
		{"docker-archive:" + text, "it is no tar archive", "it is damaged, or no image"},
		{"oci-archive:" + gzip, "cut.tar.gz: ", "it is damaged, or no image"},
		{"oci:" + dir + "/layout", "it has no index.json", "it is damaged, or no image"},
		{"oci:" + dir + "/missing", " is missing", "it is damaged, or no image"},
		{"oci:" + dir + "/negative", "has a negative size, -5", "it is damaged, or no image"},
	} {
		s, err := Open(t.Context(), tt.source, "")
		if err == nil {
			s.Close()
			t.Errorf("%s: no error", tt.source)
			continue
		}
		var h interface{ Hint() string }
		if !errors.As(err, &h) || !strings.Contains(h.Hint(), tt.hint) || !strings.Contains(err.Error(), tt.message) {
			t.Errorf("%s: %v, want %q and the hint %q", tt.source, err, tt.message, tt.hint)
		}
	}
	if _, err := Open(t.Context(), "oci:"+dir+"/nope", ""); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v is not fs.ErrNotExist", err)
	}
}
