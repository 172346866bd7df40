package filetree

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/decant-build/decant/assemble/internal/layer"
)

// stageText is a stage with the links and directories that destinations meet.
const stageText = `
	d 755 0:0 app
	d 750 7:7 app/keep
	f 600 7:7 app/keep/old old
	l 0:0 bin usr/bin
	l 0:0 dangling nowhere/far
	d 755 0:0 etc
	f 644 0:0 etc/conf conf
	l 0:0 etc/link conf
	l 0:0 html /srv/www
	d 755 0:0 srv
	d 711 3:3 srv/www
	d 755 0:0 usr
	d 755 0:0 usr/bin
	f 755 0:0 usr/bin/sh sh
`

// sourceText is a stage, or a context, that is copied from.
const sourceText = `
	f 644 1:1 a.txt A
	f 4755 1:1 suid S
	d 700 1:1 dir
	f 640 1:2 dir/f F
	l 1:1 dir/l ../a.txt
	d 750 1:2 dir/sub
	f 600 1:1 dir/sub/g G
	d 755 0:0 deep
	d 705 4:4 deep/er
	f 644 4:4 deep/er/x.js X
	f 644 4:4 deep/er/y.css Y
	l 0:0 todir dir
	l 0:0 tofile dir/f
	l 0:0 toabs /dir
	l 0:0 tonothing gone
	l 0:0 up ../../a.txt
	d 755 0:0 hard
	f 644 5:5 hard/one 1
	h hard/two hard/one
	d 755 0:0 conf
	d 755 0:0 conf/bin
	f 755 0:0 conf/bin/tool T
	d 755 0:0 clash
	f 644 0:0 clash/keep K
	d 755 0:0 lib
	b 644 0:0 lib/big 5000000
`

func TestCopy(t *testing.T) {
	tests := []struct {
		name string
		spec CopySpec // with From set by the test
		want string
	}{
		{"a file to a new name", CopySpec{Sources: []string{"a.txt"}, Dest: "/new"},
			`f 644 1:1 new A`},
		{"a file into a directory that is there", CopySpec{Sources: []string{"a.txt"}, Dest: "/app"},
			`f 644 1:1 app/a.txt A`},
		{"a slash makes a directory", CopySpec{Sources: []string{"a.txt"}, Dest: "/new/"},
			`d 755 0:0 new
			 f 644 1:1 new/a.txt A`},
		{"a dot makes a directory", CopySpec{Sources: []string{"a.txt"}, Dest: "/new/."},
			`d 755 0:0 new
			 f 644 1:1 new/a.txt A`},
		{"parents are root's and 0755, but not those that exist",
			CopySpec{Sources: []string{"a.txt"}, Dest: "/srv/x/y/z"},
			`d 755 0:0 srv/x
			 d 755 0:0 srv/x/y
			 f 644 1:1 srv/x/y/z A`},
		{"--chown is that of the parents, too",
			CopySpec{Sources: []string{"a.txt"}, Dest: "/srv/x/", Owner: &Owner{9, 8}},
			`d 755 9:8 srv/x
			 f 644 9:8 srv/x/a.txt A`},
		{"the contents of a directory; the new destination is 0755",
			CopySpec{Sources: []string{"dir"}, Dest: "/new"},
			`d 755 0:0 new
			 f 640 1:2 new/f F
			 l 1:1 new/l ../a.txt
			 d 750 1:2 new/sub
			 f 600 1:1 new/sub/g G`},
		{"a slash after a source means nothing", CopySpec{Sources: []string{"dir/sub/"}, Dest: "/new"},
			`d 755 0:0 new
			 f 600 1:1 new/g G`},
		{"the destination keeps mode and owner, directories in it do not",
			CopySpec{From: nil, Sources: []string{"dir"}, Dest: "/app/keep"},
			`f 640 1:2 app/keep/f F
			 l 1:1 app/keep/l ../a.txt
			 d 750 1:2 app/keep/sub
			 f 600 1:1 app/keep/sub/g G`},
		{"files of a context are root's", CopySpec{Sources: []string{"dir/sub"}, Dest: "/new",
			ResetOwner: true},
			`d 755 0:0 new
			 f 600 0:0 new/g G`},
		{"a link as destination is followed", CopySpec{Sources: []string{"a.txt"}, Dest: "/html"},
			`f 644 1:1 srv/www/a.txt A`},
		{"a link on the way is followed", CopySpec{Sources: []string{"a.txt"}, Dest: "/html/x/y"},
			`d 755 0:0 srv/www/x
			 f 644 1:1 srv/www/x/y A`},
		{"a file onto a link to a file writes that",
			CopySpec{Sources: []string{"a.txt"}, Dest: "/etc/link"}, `f 644 1:1 etc/conf A`},
		{"a link in the destination directory is replaced",
			CopySpec{Sources: []string{"tofile"}, Dest: "/etc/"}, `f 640 1:2 etc/tofile F`},
		{"a dangling link leads to new directories",
			CopySpec{Sources: []string{"a.txt"}, Dest: "/dangling/"},
			`d 755 0:0 nowhere
			 d 755 0:0 nowhere/far
			 f 644 1:1 nowhere/far/a.txt A`},
		{"a link to a file is followed and keeps its name",
			CopySpec{Sources: []string{"tofile"}, Dest: "/app/"}, `f 640 1:2 app/tofile F`},
		{"a link to a directory is followed", CopySpec{Sources: []string{"todir/sub"}, Dest: "/app"},
			`f 600 1:1 app/g G`},
		{"an absolute link is the source's", CopySpec{Sources: []string{"/toabs/sub"}, Dest: "/app"},
			`f 600 1:1 app/g G`},
		{"dots do not leave the root", CopySpec{Sources: []string{"../../a.txt", "up"}, Dest: "/app/"},
			`f 644 1:1 app/a.txt A
			 f 644 1:1 app/up A`},
		{"the dots of a destination stay in it", CopySpec{Sources: []string{"a.txt"}, Dest: "/../../n"},
			`f 644 1:1 n A`},
		{"wildcards", CopySpec{Sources: []string{"deep/*/*.[jt]s", "?.txt"}, Dest: "/app/",
			Wildcards: true},
			`f 644 1:1 app/a.txt A
			 f 644 4:4 app/x.js X`},
		{"a directory that a wildcard matches gives its contents",
			CopySpec{Sources: []string{"d*r"}, Dest: "/app", Wildcards: true},
			`f 640 1:2 app/f F
			 l 1:1 app/l ../a.txt
			 d 750 1:2 app/sub
			 f 600 1:1 app/sub/g G`},
		{"links before a wildcard are followed",
			CopySpec{Sources: []string{"todir/s*/g"}, Dest: "/app/", Wildcards: true},
			`f 600 1:1 app/g G`},
		{"wildcards that match nothing copy nothing",
			CopySpec{Sources: []string{"*.none"}, Dest: "/new/", Wildcards: true}, ``},
		{"hard links", CopySpec{Sources: []string{"hard"}, Dest: "/app"},
			`f 644 5:5 app/one 1
			 h app/two app/one`},
		{"hard links of two sources are files", CopySpec{Sources: []string{"hard/one", "hard/two"},
			Dest: "/app/"},
			`f 644 5:5 app/one 1
			 f 644 5:5 app/two 1`},
		{"a later source wins", CopySpec{Sources: []string{"hard", "clash", "hard/two"}, Dest: "/html/"},
			`f 644 0:0 srv/www/keep K
			 f 644 5:5 srv/www/one 1
			 f 644 5:5 srv/www/two 1`},
		{"an octal --chmod is that of parents, files and directories, not of links",
			CopySpec{Sources: []string{"dir"}, Dest: "/new/x", Chmod: "4711"},
			`d 711 0:0 new
			 d 711 0:0 new/x
			 f 4711 1:2 new/x/f F
			 l 1:1 new/x/l ../a.txt
			 d 4711 1:2 new/x/sub
			 f 4711 1:1 new/x/sub/g G`},
		{"a symbolic --chmod leaves parents alone",
			CopySpec{Sources: []string{"dir"}, Dest: "/new", Chmod: "go=rX"},
			`d 755 0:0 new
			 f 644 1:2 new/f F
			 l 1:1 new/l ../a.txt
			 d 755 1:2 new/sub
			 f 644 1:1 new/sub/g G`},
		{"a symbolic --chmod keeps set-id bits",
			CopySpec{Sources: []string{"suid"}, Dest: "/app/", Chmod: "o-rx"},
			`f 4750 1:1 app/suid S`},
		{"set-id bits are kept", CopySpec{Sources: []string{"suid"}, Dest: "/app/"},
			`f 4755 1:1 app/suid S`},
		{"content in a blob is named", CopySpec{Sources: []string{"lib/big"}, Dest: "/app/"},
			`f 644 0:0 app/big 5000000@0/lib/big`},
		{"--link ignores what is there",
			CopySpec{Sources: []string{"a.txt"}, Dest: "/html/", Link: true},
			`d 755 0:0 html
			 f 644 1:1 html/a.txt A`},
		{"--link with --chmod does not link",
			CopySpec{Sources: []string{"a.txt"}, Dest: "/html/", Link: true, Chmod: "600"},
			`f 600 1:1 srv/www/a.txt A`},
		{"--parents keeps directories and what they are",
			CopySpec{Sources: []string{"deep/er/x.js"}, Dest: "/app", Parents: true},
			`d 755 0:0 app/deep
			 d 705 4:4 app/deep/er
			 f 644 4:4 app/deep/er/x.js X`},
		{"--parents from a pivot", CopySpec{Sources: []string{"/deep/./er/x.js"}, Dest: "/new/",
			Parents: true},
			`d 755 0:0 new
			 d 705 4:4 new/er
			 f 644 4:4 new/er/x.js X`},
		{"--parents of a directory",
			CopySpec{Sources: []string{"dir/sub/."}, Dest: "/app", Parents: true},
			`d 700 1:1 app/dir
			 d 750 1:2 app/dir/sub
			 f 600 1:1 app/dir/sub/g G`},
		{"--parents with patterns of any depth",
			CopySpec{Sources: []string{"**/*.js"}, Dest: "/app", Parents: true, Wildcards: true},
			`d 755 0:0 app/deep
			 d 705 4:4 app/deep/er
			 f 644 4:4 app/deep/er/x.js X`},
		{"--parents with patterns before the pivot",
			CopySpec{Sources: []string{"de*/./er"}, Dest: "/app", Parents: true, Wildcards: true},
			`d 705 4:4 app/er
			 f 644 4:4 app/er/x.js X
			 f 644 4:4 app/er/y.css Y`},
		{"--parents with a pattern that matches nothing",
			CopySpec{Sources: []string{"deep/./z*"}, Dest: "/new/", Parents: true, Wildcards: true},
			`d 755 0:0 new`},
		{"--parents with --chown",
			CopySpec{Sources: []string{"deep/er/x.js"}, Dest: "/app", Parents: true, Owner: &Owner{9, 9}},
			`d 755 9:9 app/deep
			 d 705 9:9 app/deep/er
			 f 644 9:9 app/deep/er/x.js X`},
		{"--exclude is relative to the source",
			CopySpec{Sources: []string{"dir"}, Dest: "/app", Exclude: []string{"sub", "l"}},
			`f 640 1:2 app/f F`},
		{"--exclude of everything but", CopySpec{Sources: []string{"deep"}, Dest: "/app",
			Exclude: []string{"er", "!er/*.css"}},
			`d 705 4:4 app/er
			 f 644 4:4 app/er/y.css Y`},
		{"--exclude of a file that a wildcard matches",
			CopySpec{Sources: []string{"deep/er/*"}, Dest: "/app/", Exclude: []string{"*.js"},
				Wildcards: true}, `f 644 4:4 app/y.css Y`},
		{"--exclude of everything makes the destination",
			CopySpec{Sources: []string{"dir"}, Dest: "/new", Exclude: []string{"*"}}, `d 755 0:0 new`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			stage, from := stack(t, stageText), stack(t, sourceText)
			before := show(stage.Entries(""))
			test.spec.From = from
			got, err := stage.Copy(context.Background(), test.spec)
			if err != nil {
				t.Fatal(err)
			}
			wantEntries(t, got, test.want)
			if show(stage.Entries("")) != before {
				t.Error("the stage has changed")
			}
			if show(from.Entries("")) != show(stack(t, sourceText).Entries("")) {
				t.Error("the source has changed")
			}
			if err := stage.Apply(got, 1); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestCopyGivesExistingDirectoriesOnTheWayTheSourcesMode(t *testing.T) {
	stage := stack(t, "d 755 0:0 deep\n d 777 6:6 deep/er\n")
	spec := CopySpec{From: stack(t, sourceText), Sources: []string{"deep/er/x.js"}, Dest: "/",
		Parents: true}
	got, err := stage.Copy(context.Background(), spec)
	if err != nil {
		t.Fatal(err)
	}
	wantEntries(t, got, `
		d 705 6:6 deep/er
		f 644 4:4 deep/er/x.js X`)
}

func TestCopyRefuses(t *testing.T) {
	tests := []struct {
		name       string
		spec       CopySpec
		want, hint string
	}{
		{"a missing source", CopySpec{Sources: []string{"dist"}, Dest: "/"},
			`copying "dist": no such file or directory`, `check the spelling, and what the directory has`},
		{"a source that is elsewhere",
			CopySpec{Sources: []string{"sub/g"}, Dest: "/", Near: []string{"/dir"}},
			`copying "sub/g": no such file or directory`,
			`sources are resolved from the root: did you mean /dir/sub/g?`},
		{"a link to nothing", CopySpec{Sources: []string{"tonothing"}, Dest: "/app/"},
			`copying "tonothing": no such file or directory`, `check the spelling, and what the directory has`},
		{"a source below a file", CopySpec{Sources: []string{"a.txt/b"}, Dest: "/app/"},
			`copying "a.txt/b": not a directory`, `"/a.txt" is not a directory`},
		{"a wildcard in a missing directory",
			CopySpec{Sources: []string{"none/*.js"}, Dest: "/app/", Wildcards: true},
			`copying "none/*.js": "/none": no such file or directory`, `check the spelling, and what the directory has`},
		{"a pattern that is none", CopySpec{Sources: []string{"[a"}, Dest: "/app/", Wildcards: true},
			`matching "[a": syntax error in pattern`, `write a literal [ as [[]`},
		{"an --exclude that is none", CopySpec{Sources: []string{"dir"}, Dest: "/app/",
			Exclude: []string{"[a"}}, `matching "[a": syntax error in pattern`, `write a literal [ as [[]`},
		{"a directory onto a file", CopySpec{Sources: []string{"dir"}, Dest: "/etc/conf"},
			`copying "/dir": at "/etc/conf" is a file`,
			`choose another destination, or remove it in an earlier step`},
		{"a directory onto a link, as of merged /usr", CopySpec{Sources: []string{"conf"}, Dest: "/"},
			`copying "/conf/bin": at "/bin" is a symbolic link to "usr/bin", and the source is a directory`,
			`set a WORKDIR of its own before the copy, as /app, or name a destination below the link`},
		{"a file onto a directory", CopySpec{Sources: []string{"clash"}, Dest: "/app"},
			`copying "/clash/keep": at "/app/keep" is a directory, and the source is a file`,
			`choose another destination, or remove it in an earlier step`},
		{"--parents onto a link", CopySpec{Sources: []string{"conf/./bin/tool"}, Dest: "/",
			Parents: true},
			`copying "/conf/bin": at "/bin" is a symbolic link to "usr/bin", and the source is a directory`,
			`set a WORKDIR of its own before the copy, as /app, or name a destination below the link`},
		{"a destination below a file", CopySpec{Sources: []string{"a.txt"}, Dest: "/etc/conf/x"},
			`"/etc/conf": not a directory`, `"/etc/conf" is not a directory`},
		{"several files to what is no directory",
			CopySpec{Sources: []string{"a.txt", "suid"}, Dest: "/new"},
			`copying 2 sources to "/new": it is not a directory`, `end the destination with a slash: /new/`},
		{"--parents of what is missing", CopySpec{Sources: []string{"deep/./no"}, Dest: "/app/",
			Parents: true}, `copying "deep/./no": "/deep/no": no such file or directory`,
			`what exists of it is "/deep"`},
		{"--chmod", CopySpec{Sources: []string{"a.txt"}, Dest: "/app/", Chmod: "u=q"},
			`reading the mode "u=q": it is none`,
			`write it in octal, up to 7777, or as chmod takes it: 755, u=rwX,go=rX, +x`},
		{"--chmod beyond octal", CopySpec{Sources: []string{"a.txt"}, Dest: "/app/", Chmod: "10000"},
			`reading the mode "10000": it is none`,
			`write it in octal, up to 7777, or as chmod takes it: 755, u=rwX,go=rX, +x`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			test.spec.From = stack(t, sourceText)
			got, err := stack(t, stageText).Copy(context.Background(), test.spec)
			if err == nil {
				t.Fatalf("got %s", show(got))
			}
			wantError(t, err, test.want, test.hint)
		})
	}
}

func wantError(t *testing.T, err error, want, hint string) {
	t.Helper()
	if err.Error() != want {
		t.Errorf("got error  %s\nwant error %s", err, want)
	}
	var hinter interface{ Hint() string }
	if !errors.As(err, &hinter) {
		t.Errorf("no hint: %T", err)
	} else if got := hinter.Hint(); got != hint {
		t.Errorf("got hint  %s\nwant hint %s", got, hint)
	}
}

func TestCopyRefusesNamesThatNoLayerCanHold(t *testing.T) {
	for _, e := range []layer.Entry{
		{Name: "caf\xe9"}, {Name: "d/.wh.x"}, {Name: "l", Kind: layer.Link, Target: "caf\xe9"},
	} {
		from := New()
		if err := from.Apply([]layer.Entry{e}, 0); err != nil {
			t.Fatal(err)
		}
		_, err := New().Copy(context.Background(),
			CopySpec{From: from, Sources: []string{"."}, Dest: "/x"})
		var name *NameError
		if !errors.As(err, &name) || name.Hint() == "" {
			t.Errorf("%q: got %v", e.Name, err)
		}
	}
}

func TestCopyKeepsAttributesAndContent(t *testing.T) {
	from := New()
	caps := []layer.Xattr{{Name: "security.capability", Value: []byte{1}}}
	err := from.Apply([]layer.Entry{
		{Name: "ping", Mode: 0o755, Xattrs: caps, Base: "/b", Source: "s/ping", Size: 3, MTime: 7},
	}, 0)
	if err != nil {
		t.Fatal(err)
	}
	got, err := New().Copy(context.Background(),
		CopySpec{From: from, Sources: []string{"ping"}, Dest: "/ping", Owner: &Owner{1, 2}})
	if err != nil {
		t.Fatal(err)
	}
	want := layer.Entry{Name: "ping", Mode: 0o755, UID: 1, GID: 2, Xattrs: caps, Base: "/b",
		Source: "s/ping", Size: 3, MTime: 7}
	if len(got) != 1 || !slices.Equal(got[0].Xattrs[0].Value, caps[0].Value) ||
		show(got) != show([]layer.Entry{want}) || got[0].Size != 3 || got[0].MTime != 7 {
		t.Errorf("got %+v", got)
	}
}

func TestCopyEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := New().Copy(ctx, CopySpec{From: stack(t, sourceText), Sources: []string{"."}, Dest: "/"})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestCopyIntoItself(t *testing.T) {
	stage := stack(t, sourceText)
	got, err := stage.Copy(context.Background(),
		CopySpec{From: stage, Sources: []string{"dir"}, Dest: "/dir/sub"})
	if err != nil {
		t.Fatal(err)
	}
	wantEntries(t, got, `
		f 640 1:2 dir/sub/f F
		l 1:1 dir/sub/l ../a.txt
		d 750 1:2 dir/sub/sub
		f 600 1:1 dir/sub/sub/g G`)
}
