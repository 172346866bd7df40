package plan

import (
	"flag"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files")

var goldens = map[string]Plan{
	"prebuilt": Prebuilt(PrebuiltOptions{Base: "docker.io/library/nginx:stable-alpine", Dist: "dist",
		WebRoot: "/usr/share/nginx/html"}),
	"configured": Prebuilt(PrebuiltOptions{Base: "nginx", Dist: "my site/[v1]*", WebRoot: "/srv/www/",
		Labels: map[string]string{"b": "two words", "a": "1", "org.x/y": `say "$HOME" \n`},
		Env:    []string{"A=1", "EMPTY=", "URL=https://x.example/?a=b&c", "ODD"},
		Ports:  []string{"8080", "53/udp"}, User: "101:101"}),
	"outside": Prebuilt(PrebuiltOptions{Base: "nginx", Dist: "/home/me/dist", WebRoot: "/"}),
	"project": {Stages: []Stage{
		{Name: "build", Base: "node:22-slim", Platform: BuildPlatform, Why: "node 22 from .nvmrc",
			Steps: []Step{
				Workdir{Dir: "/app"}, Env{Name: "CI", Value: "true"},
				Copy{Sources: []string{"."}, Dest: "./"},
				Run{Shell: "npm ci --include=dev", Why: "package-lock.json",
					Mounts: []Mount{{MountCache, "npm", "/root/.npm"},
						{MountSecret, "npmrc", "/root/.npmrc"}}},
				Run{Shell: `npm run build && echo "done: $PWD"`, Network: "none"},
			}},
		{Base: "nginx", Steps: []Step{
			Copy{From: "build", Sources: []string{"/app/dist/"}, Dest: "/usr/share/nginx/html/",
				Chown: "0:0", Chmod: "0755"}}},
	}},
	"odd": {Stages: []Stage{
		{Base: "two words", Name: "a\nb", Platform: "linux/arm64", Why: "why\nRUN evil", Steps: []Step{
			Label{Key: "line\nbreak", Value: "a\nRUN evil"},
			Env{Name: "PATH", Value: "\xff"},
			Workdir{Dir: " /a 'b'$c "},
			Copy{Sources: []string{"$a", `q"'`, "é"}, Dest: "/x/"},
			Copy{Sources: []string{"<<EOF"}, Dest: "/x/"},
			Copy{Sources: []string{"-x"}, Dest: "/a b/"},
			Copy{From: "x y\n", Sources: []string{"a\nb"}, Dest: "/x"},
			Run{Shell: "cat <<EOF"}, Run{Shell: `ends in \`}, Run{Shell: "[ -f x ]"},
			Run{Shell: "--mount=type=cache x"}, Run{Shell: "two\nlines"}, Run{},
			Run{Args: []string{"node", "-e", `"<&>"`}, Mounts: []Mount{{MountCache, `a,"b`, "/c $d"}}},
			Cmd{}, Cmd{Args: []string{"nginx", "-g", "daemon off;"}},
			Entrypoint{Args: []string{"/docker-entrypoint.sh", `a","b`}},
			Expose{Port: ""}, User{Name: "a b"},
		}},
	}},
}

func TestDockerfileMatchesGolden(t *testing.T) {
	for name, p := range goldens {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join("testdata", name+".Dockerfile")
			got := p.Dockerfile()
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestLiteralMatchesOnlyItself(t *testing.T) {
	for _, name := range []string{"dist", "a*b", "a?", "[x]", `back\slash`, "é ü", "]"} {
		if ok, err := path.Match(Literal(name), name); !ok || err != nil {
			t.Errorf("Literal(%q) = %q does not match it: %v", name, Literal(name), err)
		}
		if ok, _ := path.Match(Literal(name), strings.NewReplacer("*", "x", "?", "y").Replace(name)); ok &&
			strings.ContainsAny(name, "*?") {
			t.Errorf("Literal(%q) matches another name", name)
		}
	}
}

// FuzzDockerfileIsOneInstructionPerLine puts foreign text wherever a plan has
// text, and expects the instructions of the plan in their order, and no other.
func FuzzDockerfileIsOneInstructionPerLine(f *testing.F) {
	for _, s := range []string{"", "a", "a\nRUN evil", "a\\", "a\\\n", "# escape=`", "<<EOF", "\r\n", "$x",
		`"`, "'", "\xff\xfe", "[", "--from=x", "\u2028RUN x", "\x00", " ", "\t"} {
		f.Add(s, s)
	}
	want := strings.Fields("FROM COPY COPY RUN RUN ENV LABEL WORKDIR EXPOSE USER CMD ENTRYPOINT")
	f.Fuzz(func(t *testing.T, s, u string) {
		p := Plan{Stages: []Stage{{Name: s, Base: u, Platform: s, Why: u, Steps: []Step{
			Copy{Why: s, From: u, Sources: []string{s, u}, Dest: s, Chown: u, Chmod: s},
			Copy{Sources: []string{Literal(u)}, Dest: Dir(s)},
			Run{Why: s, Shell: u, Network: s, Mounts: []Mount{{MountCache, s, u}, {MountSecret, u, s}}},
			Run{Args: []string{s, u}}, Env{s, u, s}, Label{u, s, u}, Workdir{s, u}, Expose{u, s},
			User{s, u}, Cmd{s, []string{u}}, Entrypoint{u, []string{s, u}}}}}}
		text := p.Dockerfile()
		var got []string
		for _, line := range strings.Split(text, "\n") {
			if line == "" || strings.HasPrefix(line, "#") {
				continue
			}
			if strings.HasSuffix(line, `\`) && !strings.HasSuffix(line, `\\`) {
				t.Errorf("continued line %q", line)
			}
			got = append(got, strings.Fields(line)[0])
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s\n%s", diff, text)
		}
		if strings.ContainsAny(text, "\r\x00\u2028") {
			t.Errorf("control characters in %q", text)
		}
	})
}
