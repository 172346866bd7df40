package plan

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// outline writes the needed stages as "index base needs…".
func outline(g *Graph) string {
	var lines []string
	for i, s := range g.Stages {
		if s == nil {
			continue
		}
		base := s.Base.Image
		if s.Base.Stage >= 0 {
			base = fmt.Sprint("stage ", s.Base.Stage)
		}
		if s.Base.Scratch {
			base += "scratch"
		}
		line := fmt.Sprintf("%d %s", i, base)
		if s.NeedsStages != nil {
			line += fmt.Sprint(" ", s.NeedsStages)
		}
		if s.NeedsImages != nil {
			line += fmt.Sprint(" ", s.NeedsImages)
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

func TestResolveFindsTheStagesThatAreNeeded(t *testing.T) {
	tests := []struct {
		name, text, want string
		options          ResolveOptions
	}{
		{"one", "FROM nginx\nCOPY a b", "0 nginx", ResolveOptions{}},
		{"by name", "FROM node AS Build\nFROM nginx\nCOPY --from=bUILD a b", "0 node\n1 nginx [0]",
			ResolveOptions{}},
		{"by number", "FROM a\nFROM b\nFROM c\nCOPY --from=1 a b", "1 b\n2 c [1]", ResolveOptions{}},
		{"by mount", "FROM a AS x\nFROM b AS y\nFROM c\nRUN --mount=from=y,target=/y --mount=" +
			"type=cache," +
			"target=/c,from=busybox x", "1 b\n2 c [1] [busybox]", ResolveOptions{}},
		{"by base", "FROM a AS x\nFROM unused\nFROM X AS y\nFROM y", "0 a\n2 stage 0\n3 stage 2",
			ResolveOptions{}},
		{"target", "FROM a AS x\nFROM b AS y\nFROM y", "0 a", ResolveOptions{Target: "X"}},
		{"target by number", "FROM a AS x\nFROM b\nFROM y", "1 b", ResolveOptions{Target: "1"}},
		{"last before of two", "FROM a AS x\nFROM x AS x\nFROM x", "0 a\n1 stage 0\n2 stage 1",
			ResolveOptions{}},
		{"copy from the last of two", "FROM a AS x\nFROM b AS x\nFROM c\nCOPY --from=x a b",
			"1 b\n2 c [1]", ResolveOptions{}},
		{"scratch", "FROM scratch\nCOPY --from=scratch a b", "0 scratch", ResolveOptions{}},
		{"image", "FROM a\nCOPY --from=reg.example/x/y:1 a b\nCOPY --from=node a b",
			"0 a [node reg.example/x/y:1]", ResolveOptions{}},
		{"own name is an image", "FROM nginx AS nginx", "0 nginx", ResolveOptions{}},
		{"trigger of a stage", "FROM a AS src\nFROM b AS x\nONBUILD COPY --from=src a b\nFROM x",
			"0 a\n1 b\n2 stage 1 [0]", ResolveOptions{}},
		{"ARG", "ARG V=22\nARG B=node:$V\nFROM ${B}-slim", "0 node:22-slim", ResolveOptions{}},
		{"build argument", "ARG V=22\nARG B=node:$V\nFROM $B", "0 node:20",
			ResolveOptions{BuildArgs: map[string]string{"V": "20"}}},
		{"undeclared argument", "FROM node:${V:-1}", "0 node:1",
			ResolveOptions{BuildArgs: map[string]string{"V": "20"}}},
		{"platform argument", "FROM node:$TARGETARCH-$BUILDOS-$TARGETSTAGE AS q", "0 node:arm64-linux-q",
			ResolveOptions{TargetPlatform: arm64}},
		{"not the ARG of a stage", "ARG V=1\nFROM a AS x\nARG V=2\nFROM b:$V", "1 b:1", ResolveOptions{}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			d, err := ParseDockerfile("Dockerfile", []byte(test.text))
			if err != nil {
				t.Fatal(err)
			}
			g, err := d.Resolve(options(test.options))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, outline(g)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestResolveReportsAllFaultsByLine(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"unset", "ARG B\nFROM $B\n", "Dockerfile:2: FROM $B: the name of the base is empty\n" +
			"hint: give it with --build-arg B=VALUE, or write ARG B=VALUE"},
		{"undeclared", "FROM node:$V\n", "Dockerfile:1: FROM node:$V: \"node:\" is no reference of an " +
			"image\nhint: declare it before the first FROM: ARG V=VALUE"},
		{"unset in a tag", "ARG V\nFROM node:$V-slim\n",
			"Dockerfile:2: FROM node:$V-slim: \"node:-slim\" " +
				"is no reference of an image\nhint: give it with --build-arg V=VALUE, or write ARG V=VALUE"},
		{"empty", "ARG V=\nFROM node:$V\n",
			"Dockerfile:2: FROM node:$V: \"node:\" is no reference of an image\nhint: ARG V is empty"},
		{"required", "ARG V=\"${W:?say which}\"\nFROM node:$V\n", "Dockerfile:1: ARG V=\"${W:?say " +
			"which}\": expanding \"${W:?say which}\": W: say which"},
		{"capital", "FROM node AS builder\nFROM Bulder\n",
			"Dockerfile:2: FROM Bulder: \"Bulder\" is no " +
				"reference of an image\nhint: did you mean builder?"},
		{"platform", "FROM --platform=linux/amd64/v1/x a\n", "Dockerfile:1: FROM " +
			"--platform=linux/amd64/v1/x a: \"linux/amd64/v1/x\" is no platform"},
		{"platform unset", "FROM --platform=$TARGETPLATFROM a\n", "Dockerfile:1: FROM " +
			"--platform=$TARGETPLATFROM a: the platform is empty\nhint: declare it before the first FROM: " +
			"ARG TARGETPLATFROM=VALUE"},
		{"references", "FROM a AS one\nCOPY --from=one a b\nCOPY --from=two a b\nCOPY --from=7 a b\n" +
			"RUN --mount=from=two,target=/x y\nCOPY --from=Wtf a b\nFROM b AS two\n",
			"Dockerfile:2: COPY --from=one: a stage cannot take files from itself\n" +
				"Dockerfile:3: COPY --from=two: the stage comes later, in line 7\n" +
				"Dockerfile:4: COPY --from=7: there is no stage 7\n" +
				"Dockerfile:5: RUN --mount=from=two: the stage comes later, in line 7\n" +
				"Dockerfile:6: COPY --from=Wtf: no stage has that name, and it is no reference of an image\n" +
				"hint: line 3: move that stage above this one\nhint: line 4: the stages are 0 to 1\n" +
				"hint: line 5: move that stage above this one"},
		{"cycle", "FROM a AS x\nCOPY --from=y a b\nFROM b AS y\nCOPY --from=x a b\nFROM c\n",
			"Dockerfile:2: COPY --from=y: the stage comes later, in line 3\n" +
				"hint: move that stage above this one"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			d, err := ParseDockerfile("Dockerfile", []byte(test.text))
			if err != nil {
				t.Fatal(err)
			}
			_, err = d.Resolve(options(ResolveOptions{}))
			if diff := cmp.Diff(test.want, report(err)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestResolveWarns(t *testing.T) {
	tests := []struct {
		name, text, want string
		args             map[string]string
	}{
		{"near a stage", "FROM a AS builder\nFROM b\nCOPY --from=bulder a b", "3 UnknownStage: COPY " +
			"--from=bulder: no stage has that name, so it is an image (did you mean builder?)", nil},
		{"not near", "FROM a AS builder\nFROM b\nCOPY --from=nginx a b\nCOPY --from=x/bulder a b", "",
			nil},
		{"build arguments", "ARG A\nFROM a\nARG B\nONBUILD ARG C\n",
			"0 UnusedBuildArg: --build-arg D: no ARG declares it", map[string]string{"A": "", "B": "",
				"C": "", "D": "", "HTTP_PROXY": "x", "no_proxy": "x", "TARGETARCH": "x"}},
		{"undeclared in FROM", "ARG VERSION=1\nFROM a:${VERISON:-1}", "2 UndefinedArgInFrom: FROM " +
			"argument 'VERISON' is not declared (did you mean VERSION?)", nil},
		{"default is nothing", "ARG VERSION\nFROM a:$VERSION",
			"2 InvalidDefaultArgInFrom: Default value " +
				"for ARG a:$VERSION results in empty or invalid base image name",
			map[string]string{"VERSION": "1"}},
		{"target platform", "FROM --platform=$TARGETPLATFORM a", "1 RedundantTargetPlatform: Setting " +
			"platform to predefined $TARGETPLATFORM in FROM is redundant as this is the default behavior",
			nil},
		{"constant platform", "FROM --platform=linux/arm64 a\nFROM --platform=linux/arm64 a AS " +
			"arm64-build", "1 FromPlatformFlagConstDisallowed: FROM --platform flag should not use " +
			`constant value "linux/arm64"`, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			d, err := ParseDockerfile("Dockerfile", []byte(test.text))
			if err != nil {
				t.Fatal(err)
			}
			g, err := d.Resolve(options(ResolveOptions{BuildArgs: test.args}))
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, w := range g.Warnings {
				got = append(got, w.String())
			}
			if diff := cmp.Diff(test.want, strings.Join(got, "\n")); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestResolveRefusesArgumentsThatAreNoText(t *testing.T) {
	d, err := ParseDockerfile("Dockerfile", []byte("FROM a"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = d.Resolve(options(ResolveOptions{BuildArgs: map[string]string{"A": "\xff", "B": "\x00"}}))
	want := "Dockerfile: --build-arg \"A\": it is not UTF-8 text\n" +
		"Dockerfile: --build-arg \"B\": it is not UTF-8 text"
	if diff := cmp.Diff(want, report(err)); diff != "" {
		t.Error(diff)
	}
}

func TestResolvePlatformOfStages(t *testing.T) {
	g, err := mustParse(t, "FROM --platform=$BUILDPLATFORM a AS x\nFROM x AS y\nFROM b AS z\n"+
		"FROM --platform=aarch64 c\nCOPY --from=y a b\nCOPY --from=z a b\n").Resolve(
		options(ResolveOptions{TargetPlatform: v1.Platform{OS: "linux", Architecture: "s390x"}}))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"linux/amd64 true", "linux/amd64 true", "linux/s390x false", "linux/arm64 true"}
	for i, s := range g.Stages {
		if got := fmt.Sprint(formatPlatform(s.Platform, true), " ", s.PlatformGiven); got != want[i] {
			t.Errorf("stage %d: %s, want %s", i, got, want[i])
		}
	}
}

func mustParse(t *testing.T, text string) *Dockerfile {
	t.Helper()
	d, err := ParseDockerfile("Dockerfile", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestParsePlatform(t *testing.T) {
	for text, want := range map[string]string{
		"linux/amd64": "linux/amd64", "linux": "linux/amd64", "arm64": "linux/arm64",
		"linux/aarch64": "linux/arm64", "linux/arm64/v8": "linux/arm64", "linux/arm": "linux/arm/v7",
		"linux/arm/6": "linux/arm/v6", "armhf": "linux/arm/v7", "armel": "linux/arm/v6",
		"Linux/X86_64": "linux/amd64", "i386": "linux/386", "windows": "windows/amd64",
		"linux/amd64/v1": "linux/amd64", "linux/amd64/v3": "linux/amd64/v3",
		"amd63": "", "linux/": "", "a/b/c/d": "", "linux/a b": "",
	} {
		p, err := parsePlatform(text, amd64)
		got := formatPlatform(p, true)
		if err != nil {
			got = ""
		}
		if got != want {
			t.Errorf("parsePlatform(%q) = %q, %v, want %q", text, got, err, want)
		}
	}
}
