package site

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/decant-build/decant/testdata/bed"
)

// shells are the ones that images have: this system's, and busybox with its own sed as in
// images of alpine.
func shells(t *testing.T) map[string][]string {
	t.Helper()
	found := map[string][]string{}
	if file, err := exec.LookPath("sh"); err == nil {
		found["sh"] = []string{file}
	} else {
		missing(t, "there is no sh")
	}
	b, err := bed.Open(t.Context(), "", func(s string) { t.Log(s) })
	if err == nil {
		var file string
		if file, err = b.Busybox(t.Context()); err == nil {
			found["busybox"] = []string{file, "sh"}
			return found
		}
	}
	missing(t, "busybox: "+err.Error())
	return found
}

// missing skips what cannot be proven here, where that is allowed.
func missing(t testing.TB, why string) {
	t.Helper()
	if os.Getenv("DECANT_TEST_REQUIRE_ALL") == "1" {
		t.Fatal(why)
	}
	t.Skip(why)
}

// runHook runs the script with an environment, and returns what window.__env is.
func runHook(t *testing.T, shell, names, env []string) map[string]string {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "env.js")
	script := filepath.Join(dir, "hook.sh")
	if err := os.WriteFile(script, []byte(strings.ReplaceAll(hook(names), envFile, file)), 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(shell[0], append(shell[1:], script)...)
	cmd.Env = append([]string{"PATH=" + pathFor(t, shell)}, env...)
	if out, err := cmd.CombinedOutput(); err != nil || len(out) != 0 {
		t.Fatalf("the hook: %v %s", err, out)
	}
	left, err := filepath.Glob(file + "*")
	if err != nil || len(left) != 1 {
		t.Errorf("left are %v, %v", left, err)
	}
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o644 {
		t.Errorf("env.js: %v, %v", info, err)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	object, found := strings.CutPrefix(string(data), "window.__env = Object.freeze(")
	object, ended := strings.CutSuffix(object, ");\n")
	if !found || !ended || strings.Contains(object, "<") {
		t.Fatalf("env.js is %q", data)
	}
	got := map[string]string{}
	if err := json.Unmarshal([]byte(object), &got); err != nil {
		t.Fatalf("%v in %q", err, data)
	}
	return got
}

// pathFor has busybox find its own tools before the system's.
func pathFor(t *testing.T, shell []string) string {
	t.Helper()
	if len(shell) == 1 {
		return os.Getenv("PATH")
	}
	dir := t.TempDir()
	for _, tool := range []string{"env", "mv", "printf", "rm", "sed", "sort", "tr"} {
		if err := os.Symlink(shell[0], filepath.Join(dir, tool)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestHookEscapesEveryValue(t *testing.T) {
	values := map[string]string{
		"APP_PLAIN": "hello", "APP_EMPTY": "", "APP_QUOTE": `say "hi" \ 'there'`, "APP_TAG": "</script><script>alert(1)</script>",
		"APP_LINES": "one\ntwo\n\nthree\n", "APP_TABS": "a\tb\rc", "APP_DOT": "ends.", "APP_DOLLAR": "$HOME `id` $(id) ${x}",
		"APP_SEPARATORS": "a\u2028b\u2029c", "APP_UNICODE": "grün 🌱", "APP_SED": `s/a/b/g & \n \1`,
		"APP_FAKE": "x\nAPP_NOT_THERE=1\n", "APP_DASH": "-n -e", "APP_PERCENT": "100%s %d",
		"APP_JSON": `{"a":"b\n"}`, "APP_LEADING": "\n\n x", "APP_BACKSLASH": `ends with \`,
	}
	var env []string
	for name, value := range values {
		env = append(env, name+"="+value)
	}
	env = append(env, "OTHER=secret", "MYAPP_X=secret", "TITLE=a title", "HOME=/x")
	for name, shell := range shells(t) {
		got := runHook(t, shell, []string{"APP_*", "TITLE", "UNSET"}, env)
		for key, want := range values {
			if got[key] != want {
				t.Errorf("%s: %s is %q, want %q", name, key, got[key], want)
			}
		}
		if len(got) != len(values)+1 || got["TITLE"] != "a title" {
			t.Errorf("%s: the site sees %v", name, got)
		}
	}
}

func TestHookLosesControlCharactersOnly(t *testing.T) {
	for name, shell := range shells(t) {
		got := runHook(t, shell, []string{"A"}, []string{"A=a\x01b\x1b[0mc\x7f"})
		if got["A"] != "ab[0mc\x7f" {
			t.Errorf("%s: %q", name, got["A"])
		}
	}
}

func TestHookWithoutVariablesGivesAnEmptyObject(t *testing.T) {
	for name, shell := range shells(t) {
		for _, names := range [][]string{{"NOTHING"}, {"NOTHING_*"}, {"A", "B_*", "C_*"}} {
			if got := runHook(t, shell, names, nil); len(got) != 0 {
				t.Errorf("%s: %v", name, got)
			}
		}
	}
}

func FuzzHookKeepsItsStringsWhole(f *testing.F) {
	f.Add(`"; alert(1); "`)
	f.Add("\\\"\n</script>\u2028")
	sh, err := exec.LookPath("sh")
	if err != nil {
		missing(f, "there is no sh")
	}
	f.Fuzz(func(t *testing.T, value string) {
		if strings.ContainsRune(value, 0) || len(value) > 2000 {
			return
		}
		got, ok := runHook(t, []string{sh}, []string{"A"}, []string{"A=" + value})["A"]
		if !ok || strings.ContainsAny(got, "\x00\x01\x1f") {
			t.Errorf("%q became %q", value, got)
		}
	})
}
