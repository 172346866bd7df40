package plan

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

func TestReadConfig(t *testing.T) {
	got, err := ReadConfig([]byte(`{"architecture":"arm","variant":"v7","os":"linux","author":"me",
		"os.version":"1","rootfs":{"type":"layers"},"history":[{}],"config":{"Hostname":"x","Env":["A=1"],
		"Cmd":null,"Volumes":{"/v":{}},"Healthcheck":{"Test":["NONE"],"StartInterval":5}}}`))
	if err != nil {
		t.Fatal(err)
	}
	want := State{Author: "me", Platform: v1.Platform{OS: "linux", Architecture: "arm", Variant: "v7",
		OSVersion: "1"}, Config: ImageConfig{Env: []string{"A=1"},
		Volumes:     map[string]struct{}{"/v": {}},
		Healthcheck: &Healthcheck{Test: []string{"NONE"}, StartInterval: 5}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for _, bad := range []string{"", "[]", `{"config":{"Env":"x"}}`, `{"config":{"Env":["A=\u0000"]}}`,
		`{"config":{"OnBuild":["RUN \u0000"]}}`, strings.Repeat(" ", maxConfigBytes) + "{}"} {
		if _, err := ReadConfig([]byte(bad)); err == nil {
			t.Errorf("%.40s: no error", bad)
		}
	}
}

func TestFieldsNameEveryMember(t *testing.T) {
	full := ImageConfig{User: "u", ExposedPorts: map[string]struct{}{"1/tcp": {}},
		Env:        []string{"A=1"},
		Entrypoint: []string{"e"}, Cmd: []string{"c"}, Volumes: map[string]struct{}{"/v": {}},
		WorkingDir: "/w", Labels: map[string]string{"l": "1"}, StopSignal: "TERM", ArgsEscaped: true,
		Healthcheck: &Healthcheck{Retries: 1}, OnBuild: []string{"RUN x"}, Shell: []string{"s"}}
	all, none := full.Fields(), ImageConfig{Cmd: []string{}}.Fields()
	if len(all) != len(none) {
		t.Errorf("%d and %d members", len(all), len(none))
	}
	for name := range all {
		if string(all[name]) == "null" || string(none[name]) != "null" {
			t.Errorf("%s: %s and %s", name, all[name], none[name])
		}
	}
	raw, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	var back ImageConfig
	if err := json.Unmarshal(raw, &back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(full, back); diff != "" {
		t.Error(diff)
	}
}

func TestSignals(t *testing.T) {
	for _, good := range []string{"SIGTERM", "term", "9", "RTMIN", "SIGRTMIN+3", "RTMAX-1", "WINCH"} {
		if !isSignal(good) {
			t.Errorf("%s is a signal", good)
		}
	}
	for _, bad := range []string{"", "0", "-1", "SIG", "FOO", "TERM KILL", "RTMIN+0", "RTMIN+x",
		"RTMAX-99", "SIGSIGTERM", " "} {
		if isSignal(bad) {
			t.Errorf("%s is no signal", bad)
		}
	}
}
