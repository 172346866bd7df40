package plan

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"
)

// history is what the steps write into the history, below one another.
func history(e *Evaluated) string {
	var lines []string
	for _, s := range e.Steps {
		if c := s.Where().CreatedBy; c != "" {
			lines = append(lines, c)
		}
	}
	return strings.Join(lines, "\n")
}

func TestEvaluateWritesTheHistoryOfBuildKit(t *testing.T) {
	e := last(t, `FROM nginx
ARG A=1 B
ENV C=$A D="x y"
RUN echo $A
RUN ["npm", "ci"]
COPY --chown=1:2 --chmod=755 --link a b /c/
COPY --parents --exclude=x a/./b .
ADD --unpack=false x.tar <<F /y
z
F
COPY --from=node /a /b
WORKDIR app
USER $C
LABEL a=b "c d"=e
EXPOSE 8080 90-91/udp
VOLUME /v w
STOPSIGNAL SIGTERM
SHELL ["/bin/bash", "-c"]
RUN x
CMD ["nginx", "-g", "daemon off;"]
ENTRYPOINT run
HEALTHCHECK --interval=5s --retries=2 CMD true
ONBUILD RUN x
MAINTAINER me <me@example.com>
`, ResolveOptions{})
	want := `ARG A=1 B
ENV C=1 D=x y
RUN |2 A=1 B= /bin/sh -c echo $A # buildkit
RUN |2 A=1 B= npm ci # buildkit
COPY --chown=1:2 --chmod=755 a b /c/ # buildkit
COPY --parents a/./b . # buildkit
ADD x.tar <<F /y # buildkit
COPY /a /b # buildkit
WORKDIR /app
USER 1
LABEL a=b c d=e
EXPOSE [8080/tcp 90/udp 91/udp]
VOLUME [/v w]
STOPSIGNAL SIGTERM
SHELL [/bin/bash -c]
RUN |2 A=1 B= /bin/bash -c x # buildkit
CMD ["nginx" "-g" "daemon off;"]
ENTRYPOINT ["/bin/bash" "-c" "run"]
HEALTHCHECK {Test:[CMD-SHELL true] Interval:5s Timeout:0s StartPeriod:0s StartInterval:0s Retries:2}
MAINTAINER me <me@example.com>`
	if diff := cmp.Diff(want, history(e)); diff != "" {
		t.Error(diff)
	}
	if e.Final.Author != "me <me@example.com>" {
		t.Errorf("author %q", e.Final.Author)
	}
}

func TestEvaluateConfig(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"inherited", "FROM nginx", `{"ExposedPorts":{"80/tcp":{}},"Env":["PATH=/usr/bin"],` +
			`"Entrypoint":["/docker-entrypoint.sh"],"Cmd":["nginx","-g","daemon off;"],` +
			`"StopSignal":"SIGQUIT"}`},
		{"CMD keeps ENTRYPOINT", "FROM nginx\nCMD [\"x\"]", `{"ExposedPorts":{"80/tcp":{}},"Env":` +
			`["PATH=/usr/bin"],"Entrypoint":["/docker-entrypoint.sh"],"Cmd":["x"],"StopSignal":"SIGQUIT",` +
			`"ArgsEscaped":true}`},
		{"ENTRYPOINT resets CMD", "FROM node\nENTRYPOINT [\"x\"]",
			`{"Env":["PATH=/bin","NODE_VERSION=22"],"Entrypoint":["x"]}`},
		{"but not the own one", "FROM node\nCMD [\"y\"]\nENTRYPOINT [\"x\"]", `{"Env":["PATH=/bin",` +
			`"NODE_VERSION=22"],"Entrypoint":["x"],"Cmd":["y"],"ArgsEscaped":true}`},
		{"ENTRYPOINT of a stage resets", "FROM node AS a\nCMD [\"y\"]\nFROM a\nENTRYPOINT [\"x\"]",
			`{"Env":["PATH=/bin","NODE_VERSION=22"],"Entrypoint":["x"],"ArgsEscaped":true}`},
		{"scratch", "FROM scratch", `{"Env":["PATH=` + defaultPath + `"],"WorkingDir":"/"}`},
		{"no PATH, shell of the base", "FROM app\nCMD x", `{"User":"web","Env":["PATH=` + defaultPath +
			`"],"Cmd":["/bin/bash","-ec","x"],"WorkingDir":"/srv","ArgsEscaped":true,` +
			`"Shell":["/bin/bash","-ec"]}`},
		{"ENV in place", "FROM node\nENV NEW=1 PATH=/x:$PATH\nENV NEW=2", `{"Env":["PATH=/x:/bin",` +
			`"NODE_VERSION=22","NEW=2"],"Cmd":["node"]}`},
		{"WORKDIR", "FROM app\nWORKDIR a\nWORKDIR ../b\nWORKDIR $NONE", `{"User":"web","Env":["PATH=` +
			defaultPath + `"],"WorkingDir":"/srv/b","Shell":["/bin/bash","-ec"]}`},
		{"ONBUILD", "FROM scratch\nONBUILD RUN a\nONBUILD COPY <<E x\nE", `{"Env":["PATH=` + defaultPath +
			`"],"WorkingDir":"/","OnBuild":["RUN a","COPY \u003c\u003cE x\nE"]}`},
		{"HEALTHCHECK", "FROM scratch\nHEALTHCHECK --start-interval=1s CMD [\"a\"]", `{"Env":["PATH=` +
			defaultPath + `"],"WorkingDir":"/","Healthcheck":{"Test":["CMD","a"],` +
			`"StartInterval":1000000000}}`},
		{"ports", "FROM scratch\nARG P=1\nEXPOSE $P ${P}0-11/UDP [::1]:8080:80 8081:81",
			`{"ExposedPorts":` +
				`{"1/tcp":{},"10/udp":{},"11/udp":{},"80/tcp":{},"81/tcp":{}},"Env":["PATH=` + defaultPath +
				`"],"WorkingDir":"/"}`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			raw, err := json.Marshal(last(t, test.text, ResolveOptions{}).Final.Config)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, string(raw)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestVariablesOfRun(t *testing.T) {
	args := map[string]string{"X": "arg", "HTTP_PROXY": "http://p:1", "no_proxy": "a,b"}
	tests := []struct{ name, text, want string }{
		{"ENV and ARG", "FROM node\nENV E=1\nARG A=2\nARG B\nARG X=0\nRUN x",
			"PATH=/bin NODE_VERSION=22 E=1 A=2 X=arg"},
		{"the last counts", "FROM node\nENV X=env\nARG X\nRUN x", "PATH=/bin NODE_VERSION=22 X=arg"},
		{"ENV after ARG", "FROM node\nARG X\nENV X=env-$X\nRUN x", "PATH=/bin NODE_VERSION=22 X=env-arg"},
		{"ARG is known from its line", "FROM node\nENV Y=[$X]\nARG X\nENV Z=[$X]\nRUN x",
			"PATH=/bin NODE_VERSION=22 Y=[] X=arg Z=[arg]"},
		{"ARG before FROM", "ARG M=m\nARG X=x\nFROM node\nARG M\nARG X\nRUN x",
			"PATH=/bin NODE_VERSION=22 M=m X=arg"},
		{"ARG before FROM is not seen", "ARG M=m\nFROM node\nRUN x", "PATH=/bin NODE_VERSION=22"},
		{"a stage's own default", "ARG M=m\nFROM node\nARG M=n\nRUN x", "PATH=/bin NODE_VERSION=22 M=n"},
		{"another stage's ARG", "FROM node AS a\nARG A=1\nFROM node\nRUN x", "PATH=/bin NODE_VERSION=22"},
		{"ARG of the base stage", "FROM node AS a\nARG A=1\nENV A=2\nARG A=3\nARG B=4\nFROM a\nRUN x",
			"B=4 PATH=/bin NODE_VERSION=22 A=2"},
		{"platform", "FROM node\nARG TARGETARCH\nARG BUILDPLATFORM\nARG TARGETVARIANT\nRUN x",
			"PATH=/bin NODE_VERSION=22 TARGETARCH=amd64 BUILDPLATFORM=linux/amd64 TARGETVARIANT="},
		{"scratch", "FROM scratch\nRUN [\"x\"]", "PATH=" + defaultPath},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			run := only[RunExec](t, last(t, test.text, ResolveOptions{BuildArgs: args}))
			if diff := cmp.Diff(test.want, strings.Join(run.Env, " ")); diff != "" {
				t.Error(diff)
			}
			wantProxy := []string{"HTTP_PROXY=http://p:1", "http_proxy=http://p:1",
				"NO_PROXY=a,b", "no_proxy=a,b"}
			if diff := cmp.Diff(wantProxy, run.ProxyEnv); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestProxiesAreInNoHistoryUnlessDeclared(t *testing.T) {
	args := map[string]string{"http_proxy": "http://user:secret@p"}
	if e := last(t, "FROM node\nRUN x", ResolveOptions{BuildArgs: args}); strings.Contains(
		fmt.Sprintf("%s %+v", history(e), e.Final), "secret") {
		t.Error("the proxy is in the image")
	}
	run := only[RunExec](t, last(t, "FROM node\nARG http_proxy\nRUN x",
		ResolveOptions{BuildArgs: args}))
	if !slices.Contains(run.Env, "http_proxy=http://user:secret@p") ||
		slices.Contains(run.ProxyEnv, "http_proxy=http://user:secret@p") {
		t.Errorf("declared: %q, %q", run.Env, run.ProxyEnv)
	}
}

func TestExpansion(t *testing.T) {
	env := newEnviron()
	for name, value := range map[string]string{"S": "set", "E": "", "V": "foo.bar.baz", "Q": `a"b`} {
		if err := env.set(name, value); err != nil {
			t.Fatal(err)
		}
	}
	for word, want := range map[string]string{
		"$S": "set", "${S}x": "setx", "$Sx": "", "\\$S": "$S", "'$S'": "$S", `"$S"`: "set", "a$": "a$",
		"${N:-d}": "d", "${E:-d}": "d", "${S:-d}": "set", "${N-d}": "d", "${E-d}": "", "${S:+a}": "a",
		"${N:+a}": "", "${E:+a}": "", "${E+a}": "a", "${N:-${S:-x}}": "set", "${V#*.}": "bar.baz",
		"${V##*.}": "baz", "${V%.*}": "foo.bar", "${V%%.*}": "foo", "${V/ba/X}": "foo.Xr.baz",
		"${V//ba/X}": "foo.Xr.Xz", "$Q": `a"b`, "${S:?no}": "set",
		"${E:?no}": "error: expanding ${E:?no}: E: no", "${N?}": "error: expanding ${N?}: N: is not " +
			"allowed to be unset", "${": "error: expanding ${: syntax error: missing '}'",
	} {
		got, err := expand(word, '\\', env)
		if err != nil {
			got.text = "error: " + err.Error()
		}
		if got.text != want {
			t.Errorf("%s: %q, want %q", word, got.text, want)
		}
	}
}

func TestExpansionIsBounded(t *testing.T) {
	const many = "${N//"
	tests := map[string]string{
		"doubled": "FROM node\nENV A=xxxxxxxx\n" + strings.Repeat("ENV A=$A$A\n", 40),
		"in one word": "FROM node\nENV A=" + strings.Repeat("x", 60_000) + "\nLABEL a=" +
			strings.Repeat("$A", 30_000),
		"replaced": "FROM node\nENV N=" + strings.Repeat("x", 60_000) + "\nLABEL a=${N//x/" +
			strings.Repeat("y", 60_000) + "}",
		"environment": "FROM node\nENV A=" + strings.Repeat("x", 60_000) + "\nENV B=$A$A$A$A\n" +
			"ENV C=$B$B D=$B$B E=$B$B F=$B$B G=$B$B",
		"ports": "FROM node\nEXPOSE " + strings.Repeat("0-65535 ", 100),
		"history": "FROM node\nARG A=" + strings.Repeat("x", 60_000) + "\n" + strings.Repeat("RUN x\n",
			2000),
		"here-document": "FROM node\nENV A=" + strings.Repeat("x", 60_000) + "\nCOPY <<E /x\n" +
			strings.Repeat("$A\n", 100_000) + "E\n",
		"nested": "FROM node\nLABEL a=" + strings.Repeat("${N:-", 10_000) + strings.Repeat("}", 10_000) +
			"\nENV N=" + strings.Repeat("x", 60_000) + "\nLABEL b=" + strings.Repeat(many+"x/", 8) + "y" +
			strings.Repeat("}", 8),
	}
	for name, text := range tests {
		t.Run(name, func(t *testing.T) {
			_, _, err := evaluateAll(text, ResolveOptions{})
			if err == nil || !strings.Contains(err.Error(), "more than") {
				t.Errorf("error %.300v", err)
			}
		})
	}
}

func TestEvaluateReportsAllFaultsOfAStage(t *testing.T) {
	_, _, err := evaluateAll("FROM node\nARG M=99\nCOPY --chmod=$M a b\nLABEL a=\"${X:?gone}\"\n"+
		"EXPOSE ${M}999\nRUN --mount=target=$X/ y\nADD ${X}git@h:r y\nENV $X=1\nVOLUME $X\n"+
		"RUN --mount=type=${M},target=/x y\nONBUILD RUN z\n", ResolveOptions{})
	want := "Dockerfile:3: COPY --chmod=$M: --chmod=99: it is no mode\n" +
		"Dockerfile:4: LABEL a=\"${X:?gone}\": expanding \"${X:?gone}\": X: gone\n" +
		"Dockerfile:5: EXPOSE ${M}999: 99999: it is no port from 0 to 65535, or range of ports\n" +
		"Dockerfile:6: RUN --mount=target=$X/ y: \"/\" cannot be mounted on\n" +
		"Dockerfile:7: ADD ${X}git@h:r y: git repositories are not supported\n" +
		"Dockerfile:8: ENV $X=1: \"\" is no name of a variable\n" +
		"Dockerfile:9: VOLUME $X: the name of a volume is empty\n" +
		"Dockerfile:10: RUN --mount=type=${M},target=/x y: unsupported mount type \"99\"\n" +
		"hint: line 3: it is octal, as 0644, or symbolic, as u=rwX,go=rX\n" +
		"hint: line 7: add a tarball of the repository by its URL, or clone it in a RUN"
	if diff := cmp.Diff(want, report(err)); diff != "" {
		t.Error(diff)
	}
}

func TestTriggersOfTheBaseComeFirst(t *testing.T) {
	g, err := mustParse(t,
		"FROM other AS src\nFROM base\nARG V=0\nRUN own\nONBUILD RUN mine\n").Resolve(
		options(ResolveOptions{BuildArgs: map[string]string{"V": "given"}}))
	if err != nil {
		t.Fatal(err)
	}
	base := State{Platform: amd64, Config: ImageConfig{OnBuild: []string{"ARG V",
		"COPY --from=src /a /b",
		"COPY --from=busybox /c /d", "RUN <<E\nx\nE", "CMD [\"of the trigger\"]"}, Cmd: []string{"base"}}}
	e, err := g.Evaluate(1, base)
	if err != nil {
		t.Fatal(err)
	}
	want := "ARG V=given\nCOPY /a /b # buildkit\nCOPY /c /d # buildkit\n" +
		"RUN |1 V=given /bin/sh -c x\n # buildkit\nCMD [\"of the trigger\"]\nARG V=given\n" +
		"RUN |1 V=given /bin/sh -c own # buildkit"
	if diff := cmp.Diff(want, history(e)); diff != "" {
		t.Error(diff)
	}
	if first := e.Steps[0].Where(); first.Line != 2 || !first.OnBuild {
		t.Errorf("a trigger is %+v", first)
	}
	if !slices.Equal(e.NeedsStages, []int{0}) || !slices.Equal(e.NeedsImages, []string{"busybox"}) {
		t.Errorf("it needs %v and %v", e.NeedsStages, e.NeedsImages)
	}
	if g.Stages[0] != nil || g.Stage(0).Base.Image != "other" {
		t.Error("the stage of the trigger is to be found, and not needed by the file")
	}
	if diff := cmp.Diff([]string{"RUN mine"}, e.Final.Config.OnBuild); diff != "" {
		t.Error(diff)
	}
}

func TestTriggersAreNotTrusted(t *testing.T) {
	g, err := mustParse(t, "FROM base\nFROM later AS later\nFROM x\n").Resolve(
		options(ResolveOptions{Target: "0"}))
	if err != nil {
		t.Fatal(err)
	}
	_, err = g.Evaluate(0, State{Config: ImageConfig{OnBuild: []string{"", "RUN a\nRUN b", "FROM x",
		"ONBUILD RUN x", "COPY --from=later a b", "RUN --device=x y", "# check=skip=all\nRUN --foo x",
		"RUN " + strings.Repeat("x", maxWord)}}})
	want := "Dockerfile:1: ONBUILD , of the base: file with no instructions\n" +
		"Dockerfile:1: ONBUILD RUN a RUN b, of the base: the trigger is not one instruction\n" +
		"Dockerfile:1: ONBUILD FROM x, of the base: FROM cannot be a trigger\n" +
		"Dockerfile:1: ONBUILD ONBUILD RUN x, of the base: ONBUILD cannot be a trigger\n" +
		"Dockerfile:1: ONBUILD RUN --device=x y, of the base: --device is not supported\n" +
		"Dockerfile:1: ONBUILD # check=skip=all RUN --foo x, of the base: unknown flag: --foo\n" +
		"Dockerfile:1: ONBUILD RUN " + strings.Repeat("x", 67) +
		"…, of the base: the trigger is longer " +
		"than 1 MiB\n" +
		"Dockerfile:1: ONBUILD COPY --from=later a b: the stage comes later, in line 2"
	got, _, _ := strings.Cut(report(err), "\nhint:")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestEvaluateWarns(t *testing.T) {
	_, warnings, err := evaluateAll("FROM node\nENV A 1\nENV API_KEY=x PUBLIC_KEY=y\nARG NPM_TOKEN\n"+
		"WORKDIR a\nWORKDIR b\nLABEL a=$NODE_VERSON b=$NPM_TOKEN\nCMD a\nCMD [\"b\"]\nEXPOSE 1/TCP 2:3\n"+
		"# check=skip=UndefinedVar\nLABEL c=$D\n", ResolveOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, w := range warnings {
		got = append(got, fmt.Sprint(w.Line, " ", w.Rule))
	}
	want := []string{"2 LegacyKeyValueFormat", "3 SecretsUsedInArgOrEnv", "4 SecretsUsedInArgOrEnv",
		"5 WorkdirRelativePath", "7 UndefinedVar", "8 JSONArgsRecommended",
		"8 MultipleInstructionsDisallowed", "10 ExposeInvalidFormat", "10 ExposeProtoCasing"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if !strings.Contains(warnings[4].Text, "did you mean $NODE_VERSION?") {
		t.Error(warnings[4])
	}
	_, _, err = evaluateAll("# check=error=true\nFROM node\nENV A 1\n", ResolveOptions{})
	if err == nil || !strings.HasPrefix(err.Error(), "Dockerfile:3: LegacyKeyValueFormat: ") {
		t.Errorf("strict: %v", err)
	}
}

func TestEvaluateRefusesWindows(t *testing.T) {
	g, err := mustParse(t, "FROM base").Resolve(options(ResolveOptions{}))
	if err != nil {
		t.Fatal(err)
	}
	base := State{}
	base.Platform.OS = "windows"
	_, err = g.Evaluate(0, base)
	want := "Dockerfile:1: FROM base: the base is for windows, which is not supported"
	if report(err) != want {
		t.Error(report(err))
	}
	e, err := g.Evaluate(0, State{Platform: arm64})
	if err != nil || len(e.Warnings) != 1 || e.Warnings[0].Rule != "InvalidBaseImagePlatform" {
		t.Errorf("another platform: %+v, %v", e, err)
	}
}

func TestEvaluateDoesNotChangeItsBase(t *testing.T) {
	base := bases["nginx"]
	before, _ := json.Marshal(base)
	g, err := mustParse(t,
		"FROM nginx\nENV PATH=/x A=b\nLABEL a=b\nEXPOSE 1\nVOLUME /v\nONBUILD RUN x\n").
		Resolve(options(ResolveOptions{}))
	if err != nil {
		t.Fatal(err)
	}
	first, err := g.Evaluate(0, base)
	if err != nil {
		t.Fatal(err)
	}
	second, err := g.Evaluate(0, base)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(first, second); diff != "" {
		t.Errorf("evaluated twice: %s", diff)
	}
	if after, _ := json.Marshal(base); string(after) != string(before) {
		t.Errorf("the base became %s", after)
	}
}

func TestEvaluateIsSafeForConcurrentUse(t *testing.T) {
	g, err := mustParse(t, "FROM node AS a\nRUN --mount=target=/ü,source=$B x\nFROM a\nEXPOSE 2 1\n"+
		"ARG B=1\nCOPY --from=a $B <<E /x\n$B\nE\n").Resolve(options(ResolveOptions{}))
	if err != nil {
		t.Fatal(err)
	}
	want, err := g.Evaluate(1, bases["node"])
	if err != nil {
		t.Fatal(err)
	}
	var group errgroup.Group
	for range 8 {
		group.Go(func() error {
			got, err := g.Evaluate(1, bases["node"])
			if diff := cmp.Diff(want, got); diff != "" {
				return fmt.Errorf("%s, %w", diff, err)
			}
			_, err = g.Evaluate(0, bases["node"])
			return err
		})
	}
	if err := group.Wait(); err != nil {
		t.Error(err)
	}
}

func BenchmarkDockerfile(b *testing.B) {
	for b.Loop() {
		if _, _, err := evaluateAll("ARG V=22\nFROM node AS build\nWORKDIR /app\nCOPY package*.json ./\n"+
			"RUN --mount=type=cache,target=/root/.npm npm ci\nCOPY . .\nRUN npm run build\nFROM nginx\n"+
			"COPY --from=build /app/dist /usr/share/nginx/html\nEXPOSE 80\n", ResolveOptions{}); err != nil {
			b.Fatal(err)
		}
	}
}
