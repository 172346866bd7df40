package plan

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCopy(t *testing.T) {
	yes, no := true, false
	sum := "sha256:" + "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	tests := []struct {
		text string
		want CopyExec
	}{
		{"COPY a b/ ./c ../d /e/", CopyExec{Sources: []string{"/a", "/b", "/c", "/d"}, Dest: "/e/"}},
		{"COPY . .", CopyExec{Sources: []string{"/"}, Dest: "/srv/"}},
		{"COPY a b", CopyExec{Sources: []string{"/a"}, Dest: "/srv/b"}},
		{"COPY a ./b/.", CopyExec{Sources: []string{"/a"}, Dest: "/srv/b/"}},
		{"COPY a /", CopyExec{Sources: []string{"/a"}, Dest: "/"}},
		{"COPY a ../../..", CopyExec{Sources: []string{"/a"}, Dest: "/"}},
		{"COPY *.js [ab]? /x", CopyExec{Sources: []string{"/*.js", "/[ab]?"}, Dest: "/x"}},
		{`COPY ["a b", "/c d/"]`, CopyExec{Sources: []string{"/a b"}, Dest: "/c d/"}},
		{"COPY $D/a\\b ${D}", CopyExec{Sources: []string{"/dir/ab"}, Dest: "/srv/dir"}},
		{"COPY --from=Build dist /x", CopyExec{From: CopySource{Kind: SourceStage},
			Sources: []string{"/dist"}, Dest: "/x"}},
		{"COPY --from=0 dist /x", CopyExec{From: CopySource{Kind: SourceStage},
			Sources: []string{"/dist"}, Dest: "/x"}},
		{"COPY --from=nginx:1 /etc /x", CopyExec{From: CopySource{Kind: SourceImage, Image: "nginx:1"},
			Sources: []string{"/etc"}, Dest: "/x"}},
		{"COPY --from=scratch / /x", CopyExec{From: CopySource{Kind: SourceScratch},
			Sources: []string{"/"}, Dest: "/x"}},
		{"COPY --chown=$U:g --chmod=$M --link=false a b", CopyExec{Chown: "u:g", Chmod: "640",
			Sources: []string{"/a"}, Dest: "/srv/b"}},
		{"COPY --chmod=u=rwX,go=rX --exclude=*.md --exclude=!x/ü.md --link a b", CopyExec{
			Chmod: "u=rwX,go=rX", Exclude: []string{"*.md", "!x/ü.md"}, Link: true,
			Sources: []string{"/a"}, Dest: "/srv/b"}},
		{"COPY --link --chown=1:2 a b", CopyExec{Link: true, Chown: "1:2", Sources: []string{"/a"},
			Dest: "/srv/b"}},
		{"COPY --parents x/./y/*.js /z/", CopyExec{Parents: true, Sources: []string{"x/./y/*.js"},
			Dest: "/z/"}},
		{"COPY <<A <<'B' <<-\"C\" f /x/\n$D \"$D\" \\$D\nA\n$D\nB\n\t$D\n\tC", CopyExec{
			Sources: []string{"/f"}, Dest: "/x/", Inline: []InlineFile{{"A", []byte("dir \"dir\" $D\n")},
				{"B", []byte("$D\n")}, {"C", []byte("$D\n")}}}},
		{"ADD a.tgz /x", CopyExec{Add: true, Sources: []string{"/a.tgz"}, Dest: "/x"}},
		{"ADD --unpack a.tgz https://h/$D.tgz?q /x/", CopyExec{Add: true, Unpack: &yes,
			Sources: []string{"/a.tgz"}, URLs: []string{"https://h/dir.tgz?q"}, Dest: "/x/"}},
		{"ADD --unpack=false --keep-git-dir a.tgz /x", CopyExec{Add: true, Unpack: &no,
			Sources: []string{"/a.tgz"}, Dest: "/x"}},
		{"ADD --checksum=" + sum + " http://h/x /x", CopyExec{Add: true, Checksum: sum,
			URLs: []string{"http://h/x"}, Dest: "/x"}},
		{"ADD https://h/a.git/x /x", CopyExec{Add: true, URLs: []string{"https://h/a.git/x"},
			Dest: "/x"}},
	}
	for _, test := range tests {
		t.Run(test.text, func(t *testing.T) {
			stages, _, err := evaluateAll("FROM node AS build\nFROM app\nARG D=dir U=u M=640\n"+test.text,
				ResolveOptions{})
			if err != nil {
				t.Fatal(err)
			}
			got := only[CopyExec](t, stages[1])
			got.Origin = Origin{}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestWorkdirBelongsToTheUserOfItsLine(t *testing.T) {
	dir := only[WorkdirExec](t, last(t, "FROM node\nUSER me\nWORKDIR a/../b/\nUSER x",
		ResolveOptions{}))
	dir.Origin = Origin{}
	if diff := cmp.Diff(WorkdirExec{Dir: "/b", User: "me"}, dir); diff != "" {
		t.Error(diff)
	}
}
