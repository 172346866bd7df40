package plan

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// State is what a stage starts from, or ends with, besides files.
type State struct {
	Config ImageConfig
	Author string // of MAINTAINER; a member of the config file, not of its "config"
	// Platform is the image's own. It is what a stage's image is labelled with.
	Platform v1.Platform
	// Args are the ARGs that a stage which starts from this one inherits, in order.
	Args []Arg
	// WorkdirSet says that a WORKDIR of the Dockerfile decided Config.WorkingDir.
	WorkdirSet bool
}

// Arg is a declared ARG; Value is nil if it has none.
type Arg struct {
	Name  string
	Value *string
}

// ImageConfig is the "config" object of a config file, as Docker spells it.
type ImageConfig struct {
	User         string              `json:",omitempty"`
	ExposedPorts map[string]struct{} `json:",omitempty"` // "80/tcp"
	Env          []string            `json:",omitempty"` // K=V
	Entrypoint   []string            `json:",omitempty"`
	Cmd          []string            `json:",omitempty"`
	Volumes      map[string]struct{} `json:",omitempty"`
	WorkingDir   string              `json:",omitempty"`
	Labels       map[string]string   `json:",omitempty"`
	StopSignal   string              `json:",omitempty"`
	// ArgsEscaped is written by BuildKit with every CMD; only Windows reads it.
	ArgsEscaped bool         `json:",omitempty"`
	Healthcheck *Healthcheck `json:",omitempty"`
	OnBuild     []string     `json:",omitempty"`
	Shell       []string     `json:",omitempty"`
}

// Healthcheck is that of an ImageConfig. Its fields are printed into the history
// in this order.
type Healthcheck struct {
	Test          []string      `json:",omitempty"`
	Interval      time.Duration `json:",omitempty"`
	Timeout       time.Duration `json:",omitempty"`
	StartPeriod   time.Duration `json:",omitempty"`
	StartInterval time.Duration `json:",omitempty"`
	Retries       int           `json:",omitempty"`
}

// Scratch is the state of FROM scratch.
func Scratch(platform v1.Platform) State {
	return State{Config: ImageConfig{WorkingDir: "/"}, Platform: platform}
}

// maxConfigBytes bounds a config file. Those of real images have some 10 KiB.
const maxConfigBytes = 4 << 20

// ReadConfig reads the config file of a base image, which is not trusted.
func ReadConfig(raw []byte) (State, error) {
	if len(raw) > maxConfigBytes {
		return State{}, fmt.Errorf("reading the image's config: it is larger than %d MiB",
			maxConfigBytes>>20)
	}
	var file struct {
		Author       string      `json:"author"`
		Architecture string      `json:"architecture"`
		Variant      string      `json:"variant"`
		OS           string      `json:"os"`
		OSVersion    string      `json:"os.version"`
		OSFeatures   []string    `json:"os.features"`
		Config       ImageConfig `json:"config"`
	}
	if err := json.Unmarshal(raw, &file); err != nil {
		return State{}, fmt.Errorf("reading the image's config: %w", err)
	}
	for _, text := range append(append([]string{}, file.Config.Env...), file.Config.OnBuild...) {
		// Neither an environment nor the language can have one.
		if strings.Contains(text, "\x00") {
			return State{}, fmt.Errorf("reading the image's config: NUL byte in %.40q", text)
		}
	}
	return State{Config: file.Config, Author: file.Author, Platform: v1.Platform{
		Architecture: file.Architecture, Variant: file.Variant,
		OS: file.OS, OSVersion: file.OSVersion, OSFeatures: file.OSFeatures}}, nil
}

// Fields returns every member of the "config" object that this type knows, as
// JSON, and null for one that is to be absent. Set into the base's own object
// they keep what this type does not know.
func (c ImageConfig) Fields() map[string]json.RawMessage {
	fields := map[string]json.RawMessage{}
	for _, name := range []string{"User", "ExposedPorts", "Env", "Entrypoint", "Cmd", "Volumes",
		"WorkingDir", "Labels", "StopSignal", "ArgsEscaped", "Healthcheck", "OnBuild", "Shell"} {
		fields[name] = json.RawMessage("null")
	}
	// Strings, numbers and maps of them always encode, and decode again.
	raw, _ := json.Marshal(c)
	_ = json.Unmarshal(raw, &fields)
	return fields
}

// clone makes a copy of what instructions change in place.
func (c ImageConfig) clone() ImageConfig {
	c.ExposedPorts = maps.Clone(c.ExposedPorts)
	c.Env = slices.Clone(c.Env)
	c.Volumes = maps.Clone(c.Volumes)
	c.Labels = maps.Clone(c.Labels)
	c.OnBuild = slices.Clone(c.OnBuild)
	return c
}
