package plan

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestRunForms(t *testing.T) {
	tests := []struct {
		name, text string
		argv       []string
		files      []InlineFile
	}{
		{"shell", "RUN a  $B\\\n c", []string{"/bin/sh", "-c", "a  $B c"}, nil},
		{"exec", `RUN ["a", "$B c"]`, []string{"a", "$B c"}, nil},
		{"exec in the shell", `RUN ["a", b]`, []string{"/bin/sh", "-c", `["a", b]`}, nil},
		{"SHELL", "SHELL [\"x\", \"y z\"]\nRUN a b", []string{"x", "y z", "a b"}, nil},
		{"script", "RUN <<EOF\na\n$b\nEOF", []string{"/bin/sh", "-c", "a\n$b\n"}, nil},
		{"script without tabs", "RUN <<-EOF\n\ta\n\tEOF", []string{"/bin/sh", "-c", "a\n"}, nil},
		{"script in a SHELL", "SHELL [\"x\"]\nRUN <<EOF\na\nEOF", []string{"x", "a\n"}, nil},
		{"program", "RUN <<EOF\n#!/bin/x -e\na\nEOF", []string{"/bin/sh", "-c", "/dev/pipes/EOF"},
			[]InlineFile{{Name: "/dev/pipes/EOF", Data: []byte("#!/bin/x -e\na\n")}}},
		{"to a command", "RUN cat <<A - <<B\n1\nA\n2\nB",
			[]string{"/bin/sh", "-c", "cat <<A - <<B\n1\nA\n2\nB"}, nil},
		{"no here-document", "RUN echo '<<EOF'", []string{"/bin/sh", "-c", "echo '<<EOF'"}, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			run := only[RunExec](t, last(t, "FROM node\n"+test.text, ResolveOptions{}))
			if diff := cmp.Diff(test.argv, run.Argv); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(test.files, run.Files); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestRunSeesTheConfigOfItsLine(t *testing.T) {
	run := only[RunExec](t, last(t, "FROM app\nWORKDIR /a/../b/\nUSER me:us\nRUN --network=none "+
		"--security=sandbox x\nUSER other\nWORKDIR /c\n", ResolveOptions{}))
	if run.Dir != "/b" || run.User != "me:us" || run.Network != "none" || run.Line != 4 {
		t.Errorf("%+v", run)
	}
	run = only[RunExec](t, last(t, "FROM app\nRUN --network=default x", ResolveOptions{}))
	if run.Dir != "/srv" || run.User != "web" || run.Network != "" {
		t.Errorf("%+v", run)
	}
}

func TestRunMounts(t *testing.T) {
	n := func(v uint32) *uint32 { return &v }
	tests := []struct {
		flags string
		want  []RunMount
	}{
		{"--mount=target=/x", []RunMount{{Type: "bind", Source: "/", Target: "/x", ReadOnly: true}}},
		{"--mount=type=bind,src=../a/b,dst=rel/../c,rw", []RunMount{
			{Type: "bind", Source: "/a/b", Target: "/srv/c"}}},
		{"--mount=from=build,target=/x,source=/d", []RunMount{{Type: "bind", Source: "/d", Target: "/x",
			ReadOnly: true, From: CopySource{Kind: SourceStage}}}},
		{"--mount=from=0,target=/x", []RunMount{{Type: "bind", Source: "/", Target: "/x",
			ReadOnly: true, From: CopySource{Kind: SourceStage}}}},
		{"--mount=from=busybox:1,target=/x", []RunMount{{Type: "bind", Source: "/", Target: "/x",
			ReadOnly: true, From: CopySource{Kind: SourceImage, Image: "busybox:1"}}}},
		{"--mount=type=cache,target=/c/", []RunMount{{Type: "cache", ID: "/c", Sharing: "shared",
			Source: "/", Target: "/c", From: CopySource{Kind: SourceScratch}}}},
		{"--mount=type=cache,target=c,id=../../x,sharing=locked,uid=1,gid=2,mode=0700,ro,from=build",
			[]RunMount{{Type: "cache", ID: "../../x", Sharing: "locked", Source: "/", Target: "/srv/c",
				ReadOnly: true, UID: n(1), GID: n(2), Mode: n(0o700), From: CopySource{Kind: SourceStage}}}},
		{"--mount=type=tmpfs,target=/t,size=1m", []RunMount{{Type: "tmpfs", Source: "/", Target: "/t",
			SizeLimit: 1 << 20, From: CopySource{Kind: SourceScratch}}}},
		{"--mount=type=secret,id=a/npmrc", []RunMount{{Type: "secret", ID: "a/npmrc", ReadOnly: true,
			Target: "/run/secrets/npmrc"}}},
		{"--mount=type=secret,target=.npmrc,required", []RunMount{{Type: "secret", ID: ".npmrc",
			ReadOnly: true, Target: "/srv/.npmrc", Required: true}}},
		{"--mount=type=secret,src=x,env=TOKEN,mode=0444", []RunMount{{Type: "secret", ID: "x",
			ReadOnly: true, Env: "TOKEN", Mode: n(0o444)}}},
		{"--mount=type=secret,id=x,env=", []RunMount{{Type: "secret", ID: "x", ReadOnly: true,
			Env: "x"}}},
		{"--mount=type=ssh --mount=type=ssh,id=b,target=/s", []RunMount{
			{Type: "ssh", ID: "default", Target: "/run/buildkit/ssh_agent.0", Env: "SSH_AUTH_SOCK",
				ReadOnly: true},
			{Type: "ssh", ID: "b", Target: "/s", ReadOnly: true}}},
		{"--mount=type=${T},target=$D,id=$T", []RunMount{{Type: "cache", ID: "cache", Sharing: "shared",
			Source: "/", Target: "/d", From: CopySource{Kind: SourceScratch}}}},
	}
	for _, test := range tests {
		t.Run(test.flags, func(t *testing.T) {
			stages, _, err := evaluateAll("FROM node AS build\nFROM app\nARG T=cache D=/d\nRUN "+test.flags+
				" x", ResolveOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, only[RunExec](t, stages[1]).Mounts); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestRunMountsAreChecked(t *testing.T) {
	for flags, want := range map[string]string{
		"type=bind,targt=/x": "unexpected key 'targt' in 'targt=/x'\n" +
			"hint: did you mean target?",
		"type=cache,target=/":           `"/" cannot be mounted on`,
		"type=bind,target=/x/..":        `"/x/.." cannot be mounted on`,
		"type=secret":                   "invalid secret mount. one of source, target required",
		"type=secret,id=x,from=a":       "secret mount should not have a from",
		"type=tmpfs,target=/x,size=big": "invalid value for size: big",

		"type=bind,target=/x,sharing=locked": "invalid cache sharing set for bind mount",
		"type=bind,from=$X,target=/x": "'from' doesn't support variable expansion, " +
			"define alias stage instead",
		"type=secret,id=x,env=A=B": `the secret "x" has no place`,
	} {
		_, _, err := evaluateAll("FROM node\nRUN --mount="+flags+" x", ResolveOptions{})
		got := report(err)
		if diff := cmp.Diff("Dockerfile:2: RUN --mount="+flags+" x: "+want, got); diff != "" {
			t.Error(diff)
		}
	}
}
