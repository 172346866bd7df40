package plan

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseReportsAllFaultsByLine(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"empty", "", "Dockerfile: file with no instructions\nhint: a Dockerfile begins with FROM"},
		{"comments", "# x\n\n# y\n", "Dockerfile: file with no instructions\n" +
			"hint: a Dockerfile begins with FROM"},
		{"only ARG", "ARG A=1\n", "Dockerfile: it has no FROM\nhint: a Dockerfile begins with FROM"},
		{"before FROM", "ARG A\nRUN x\nCMD y\nFROM node\n", "Dockerfile:2: RUN x: it comes before the " +
			"first FROM\nhint: a Dockerfile begins with FROM; only ARG can precede it"},
		{"unknown flag", "FROM node\nCOPY --form=x a b\n",
			"Dockerfile:2: COPY --form=x: unknown flag: --form\nhint: did you mean --from?"},
		{"several", "FROM node\nCOPPY a b\nENV\nENV A\nRUN true\nADD x\nLABEL a=b c\nFORM node\n",
			"Dockerfile:2: COPPY a b: unknown instruction: COPPY\n" +
				"Dockerfile:3: ENV: ENV requires at least one argument\n" +
				"Dockerfile:4: ENV A: ENV must have two arguments\n" +
				"Dockerfile:6: ADD x: ADD requires at least two arguments, but only one was provided. " +
				"Destination could not be determined\n" +
				"Dockerfile:7: LABEL a=b c: Syntax error - can't find = in \"c\". Must be of the form: " +
				"name=value\n" +
				"Dockerfile:8: FORM node: unknown instruction: FORM\n" +
				"hint: line 2: did you mean COPY?\nhint: line 8: did you mean FROM?"},
		{"heredoc", "FROM node\nRUN <<EOF\nx\n", "Dockerfile:2: RUN <<EOF: unterminated heredoc"},
		{"stage name", "FROM node AS 1st\nRUN x\n", "Dockerfile:1: FROM node AS 1st: invalid name for " +
			"build stage: \"1st\", name can't start with a number or contain symbols"},
		{"device", "FROM node\nRUN --device=gpu x\n", "Dockerfile:2: RUN --device=gpu: --device is not " +
			"supported\nhint: remove the flag, or do this step in the base image"},
		{"security", "FROM node\nRUN --security=insecure x\n", "Dockerfile:2: RUN --security=insecure: " +
			"--security is not supported\nhint: remove the flag, or do this step in the base image"},
		{"network", "FROM node\nRUN --network=bridge x\n",
			`Dockerfile:2: RUN --network=bridge x: invalid network mode "bridge"`},
		{"mount", "FROM node\nRUN --mount=type=bnd,target=/x y\n",
			"Dockerfile:2: RUN --mount=type=bnd,target=/x y: unsupported mount type \"bnd\"\n" +
				"hint: did you mean bind?"},
		{"from variable", "FROM node\nCOPY --from=$X a b\n", "Dockerfile:2: COPY --from=$X: variables " +
			"are not expanded in --from\nhint: name a stage, FROM $X AS x, and write --from=x"},
		{"git", "FROM node\nADD git@github.com:a/b.git x\nADD https://h/a.git#main x\nCOPY git://h/a x\n",
			"Dockerfile:2: ADD git@github.com:a/b.git x: git repositories are not supported\n" +
				"Dockerfile:3: ADD https://h/a.git#main x: git repositories are not supported\n" +
				"Dockerfile:4: COPY git://h/a x: COPY takes no git repository\n" +
				"hint: line 2: add a tarball of the repository by its URL, or clone it in a RUN\n" +
				"hint: line 3: add a tarball of the repository by its URL, or clone it in a RUN"},
		{"COPY URL", "FROM node\nCOPY https://h/a.tgz x\n",
			"Dockerfile:2: COPY https://h/a.tgz x: COPY takes no URL\nhint: use ADD"},
		{"chmod", "FROM node\nCOPY --chmod=88 a b\n",
			"Dockerfile:2: COPY --chmod=88: --chmod=88: it is " +
				"no mode\nhint: it is octal, as 0644, or symbolic, as u=rwX,go=rX"},
		{"link", "FROM node\nCOPY --link --chown=web a b\n", "Dockerfile:2: COPY --link: --chown=web: " +
			"--link cannot look up names\nhint: use numbers, as --chown=1000:1000, or remove --link"},
		{"checksum", "FROM node\nADD --checksum=sha256:1 https://h/x x\n", "Dockerfile:2: ADD " +
			"--checksum=sha256:1: --checksum=sha256:1: it is no digest\nhint: it is sha256: and 64 digits"},
		{"checksum of a file", "FROM node\nADD --checksum=sha256:1 x x\n", "Dockerfile:2: ADD " +
			"--checksum=sha256:1: --checksum needs one source, that is a URL"},
		{"signal", "FROM node\nSTOPSIGNAL SIGFOO\n",
			"Dockerfile:2: STOPSIGNAL SIGFOO: \"SIGFOO\" is no " +
				"signal\nhint: it is a number, or a name as SIGTERM"},
		{"port", "FROM node\nEXPOSE 80/http\n",
			"Dockerfile:2: EXPOSE 80/http: 80/http: the protocol is tcp, udp or sctp"},
		{"trigger", "FROM node\nONBUILD COPPY a b\nONBUILD RUN --device=x y\n",
			"Dockerfile:2: ONBUILD COPPY a b: unknown instruction: COPPY\n" +
				"Dockerfile:3: ONBUILD RUN --device=x y: --device is not supported\n" +
				"hint: line 2: did you mean COPY?\n" +
				"hint: line 3: remove the flag, or do this step in the base image"},
		{"NUL in JSON", "FROM node\nCOPY [\"a\\u0000\", \"b\"]\n",
			"Dockerfile:2: COPY [\"a\\u0000\", \"b\"]: NUL byte in an argument"},
		{"heredoc name", "FROM node\nCOPY <<a/b /x\ny\na/b\n",
			"Dockerfile:2: COPY <<a/b /x: a here-document cannot be called a/b"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := ParseDockerfile("Dockerfile", []byte(test.text))
			if diff := cmp.Diff(test.want, report(err)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestParseRefusesWhatIsNoText(t *testing.T) {
	long := strings.Repeat("x", 70_000)
	tests := []struct{ name, text, want string }{
		{"NUL", "FROM node\nRUN a\x00b\n", "Dockerfile:2: NUL byte in column 6"},
		{"not UTF-8", "FROM node\n\nRUN \xff\n", "Dockerfile:3: bytes that are not UTF-8\n" +
			"hint: save the file as UTF-8"},
		{"UTF-16", "\xff\xfeF\x00", "Dockerfile:1: the file is UTF-16\nhint: save it as UTF-8"},
		{"too large", strings.Repeat("#\n", maxDockerfile/2+1),
			"Dockerfile: it is larger than 16 MiB\nhint: is this the Dockerfile?"},
		{"line", "FROM node\n\nRUN " + long, "Dockerfile:3: the line is longer than 65535 bytes"},
		{"instruction", "FROM node\nRUN x \\\n" + strings.Repeat("# no\n"+long[:60_000]+" \\\n", 20),
			"Dockerfile:2: the instruction is longer than 1 MiB"},
		{"here-document", "FROM node\nCOPY <<EOF /x\n" + strings.Repeat(long[:60_000]+"\n", 20) + "EOF\n",
			"Dockerfile:2: COPY <<EOF /x: the here-document is larger than 1 MiB\n" +
				"hint: quote its name, <<'EOF', if it needs no variables"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := ParseDockerfile("Dockerfile", []byte(test.text))
			if diff := cmp.Diff(test.want, report(err)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestParseStopsAfterManyFaults(t *testing.T) {
	for _, line := range []string{"COPPY a b\n", "ENV A\n"} {
		_, err := ParseDockerfile("Dockerfile", []byte("FROM node\n"+strings.Repeat(line, 2000)))
		faults := err.(*DockerfileError).Faults
		if len(faults) != maxFaults || faults[0].Line != 2 || faults[maxFaults-1].Line != 0 {
			t.Errorf("%s: %d faults, last %+v", line, len(faults), faults[len(faults)-1])
		}
	}
}

func TestParseReadsDirectives(t *testing.T) {
	const refused = " is not supported\nhint: remove the line if the file is a plain Dockerfile, " +
		"which needs none"
	tests := []struct{ name, text, want string }{
		{"own syntax", "# syntax=docker/dockerfile:1\nFROM node", ""},
		{"labs", "#syntax = docker/dockerfile:1.7-labs\nFROM node", ""},
		{"mirror", "# syntax=reg.example:5000/hub/docker/dockerfile:1.4@sha256:ab\nFROM node", ""},
		{"upstream", "# syntax=docker/dockerfile-upstream:master\nFROM node", ""},
		{"foreign", "# syntax=r2d4/mockerfile\nFROM node", "Dockerfile:1: the syntax r2d4/mockerfile" +
			refused},
		{"lookalike", "# syntax=evil.docker/dockerfiles:1\nFROM node",
			"Dockerfile:1: the syntax evil.docker/dockerfiles:1" + refused},
		{"slashes", "// syntax=x/y\n", "Dockerfile:1: the syntax x/y" + refused +
			"\nhint: line 1: did you mean ADD?"},
		{"not at the top", "FROM node\n# syntax=x/y\n", ""},
		{"escape", "# escape=`\nFROM node\nRUN a `\n b\nENV A=C:\\b\n", ""},
		{"bad escape", "# escape=x\nFROM node",
			"Dockerfile:1: # escape=x: the escape character is \\ or `"},
		{"twice", "# escape=`\n# escape=`\nFROM node",
			"Dockerfile:2: # escape=`: only one escape parser directive can be used"},
		{"bad check", "# check=skip\nFROM node",
			"Dockerfile:1: # check=skip: invalid check option \"skip\""},
		{"strict", "# check=error=true\nFROM node AS A\n",
			"Dockerfile:2: StageNameCasing: Stage name 'A' should be lowercase"},
		{"strict, skipped", "# check=error=true;skip=StageNameCasing\nFROM node AS A\n", ""},
		{"BOM", "\ufeff# syntax=x/y\nFROM node", "Dockerfile:1: the syntax x/y" + refused},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := ParseDockerfile("Dockerfile", []byte(test.text))
			got := report(err)
			if test.name == "slashes" {
				// What is below is no Dockerfile at all.
				if !strings.HasPrefix(got, "Dockerfile:1: the syntax x/y is not supported\n") {
					t.Error(got)
				}
				return
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestTargetFindsStages(t *testing.T) {
	d, err := ParseDockerfile("Dockerfile",
		[]byte("FROM node AS Builder\nFROM a\nFROM nginx AS web\n"))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"": "2", "builder": "0", "BUILDER": "0", "web": "2", "1": "1", "0": "0",
		"3":      "Dockerfile: no stage is called \"3\"\nhint: its stages are builder, web",
		"-1":     "Dockerfile: no stage is called \"-1\"\nhint: its stages are builder, web",
		"bulder": "Dockerfile: no stage is called \"bulder\"\nhint: did you mean --target builder?",
	} {
		i, err := d.Target(name)
		got := report(err)
		if err == nil {
			got = fmt.Sprint(i)
		}
		if got != want {
			t.Errorf("Target(%q) = %s, want %s", name, got, want)
		}
	}
}

func TestWarningsOfTheFile(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"none", "FROM node AS build\nRUN x\n", ""},
		{"casing", "FROM node\nrun x\nRUN y\n", "2 ConsistentInstructionCasing: Command 'run' should " +
			"match the case of the command majority (uppercase)"},
		{"as", "FROM node as x\n", "1 FromAsCasing: 'as' and 'FROM' keywords' casing do not match"},
		{"duplicate", "FROM a AS x\nFROM b AS x\n",
			`2 DuplicateStageName: Duplicate stage name "x", stage names should be unique`},
		{"reserved", "FROM a AS scratch\n", `1 ReservedStageName: Stage name should not use the same ` +
			`name as reserved stage "scratch"`},
		{"empty continuation", "FROM a\nRUN a \\\n\n b\n",
			"4 NoEmptyContinuation: Empty continuation line"},
		{"maintainer", "FROM a\nMAINTAINER me\n", "2 MaintainerDeprecated: Maintainer instruction is " +
			"deprecated in favor of using label"},
		{"curly quotes", "FROM a\nCMD [ ‘x’ ]\n", "2 CurlyQuotes: CMD is no JSON array because of its " +
			"typographic quotes: write straight ones, \""},
		{"quotes in a shell form", "FROM a\nCMD echo [‘x’]; [ “a” ]\nRUN [ -f “x” ]\n", ""},
		{"skipped", "# check=skip=CurlyQuotes,StageNameCasing\nFROM a AS B\nCMD [ “x” ]\n", ""},
		{"skipped once", "FROM a AS b\n# check=skip=MaintainerDeprecated\nMAINTAINER x\n", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			d, err := ParseDockerfile("Dockerfile", []byte(test.text))
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, w := range d.Warnings() {
				got = append(got, w.String())
			}
			if diff := cmp.Diff(test.want, strings.Join(got, "\n")); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestParseOfManyLinesIsQuick(t *testing.T) {
	var text strings.Builder
	text.WriteString("FROM node\n")
	for i := range 100_000 {
		fmt.Fprintf(&text, "# %d\n", i)
	}
	for i := range 5_000 {
		fmt.Fprintf(&text, "ENV A%d=$A%d$B\n", i, i-1)
	}
	if e := last(t, text.String(), ResolveOptions{}); len(e.Final.Config.Env) != 5_002 {
		t.Errorf("%d variables", len(e.Final.Config.Env))
	}
}
