package image

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// object is a JSON object whose members are kept as they are until one is set.
// It is written with sorted keys.
type object map[string]json.RawMessage

// parseObject reads raw; nothing and null are an empty object.
func parseObject(raw json.RawMessage) (object, error) {
	o := object{}
	if len(raw) == 0 {
		return o, nil
	}
	if err := json.Unmarshal(raw, &o); err != nil {
		return nil, err
	}
	if o == nil {
		o = object{}
	}
	return o, nil
}

func (o object) set(key string, v any) error {
	raw, err := encode(v)
	if err == nil {
		o[key] = raw
	}
	return err
}

// get reads a member; one that is absent or null leaves v as it is.
func (o object) get(key string, v any) error {
	raw, ok := o[key]
	if !ok {
		return nil
	}
	if err := json.Unmarshal(raw, v); err != nil {
		return fmt.Errorf("parsing %s: %w", key, err)
	}
	return nil
}

// editConfig returns the base's config with o applied and diffIDs as the rootfs.
func editConfig(b *base, diffIDs []v1.Hash, o Options) ([]byte, error) {
	file, err := parseObject(b.rawConfig)
	if err != nil {
		return nil, err
	}
	created := o.Created
	if created.IsZero() {
		created = time.Unix(0, 0)
	}
	created = created.UTC()
	if err := file.set("created", v1.Time{Time: created}); err != nil {
		return nil, err
	}
	if err := editRootFS(file, diffIDs); err != nil {
		return nil, err
	}
	if len(o.History) > 0 && historyFits(b.config) {
		if err := editHistory(file, o.History, created); err != nil {
			return nil, err
		}
	}
	if o.Author != "" {
		if err := file.set("author", o.Author); err != nil {
			return nil, err
		}
	}
	if err := editRuntime(file, o); err != nil {
		return nil, err
	}
	raw, err := encode(file)
	if err != nil {
		return nil, err
	}
	return raw, checkEdit(raw, diffIDs)
}

// checkEdit reads the result back. Go's parser, unlike this editor, takes keys
// in any case and folding, so a base with two spellings of "rootfs" would mean
// different things to different readers.
func checkEdit(raw []byte, diffIDs []v1.Hash) error {
	var parsed v1.ConfigFile
	if err := json.Unmarshal(raw, &parsed); err != nil {
		return err
	}
	if !slices.Equal(parsed.RootFS.DiffIDs, diffIDs) {
		return badBase("the config has two spellings of the key rootfs")
	}
	return nil
}

func editRootFS(file object, diffIDs []v1.Hash) error {
	rootfs, err := parseObject(file["rootfs"])
	if err != nil {
		return fmt.Errorf("parsing rootfs: %w", err)
	}
	if diffIDs == nil {
		diffIDs = []v1.Hash{}
	}
	if err := rootfs.set("type", "layers"); err != nil {
		return err
	}
	if err := rootfs.set("diff_ids", diffIDs); err != nil {
		return err
	}
	return file.set("rootfs", rootfs)
}

// historyFits says whether each layer of the image has its entry.
func historyFits(config *v1.ConfigFile) bool {
	n := 0
	for _, h := range config.History {
		if !h.EmptyLayer {
			n++
		}
	}
	return n == len(config.RootFS.DiffIDs)
}

func editHistory(file object, added []v1.History, created time.Time) error {
	var history []json.RawMessage
	if err := file.get("history", &history); err != nil {
		return err
	}
	for _, h := range added {
		if h.Created.IsZero() {
			h.Created.Time = created
		}
		h.Created.Time = h.Created.UTC()
		raw, err := encode(h)
		if err != nil {
			return err
		}
		history = append(history, raw)
	}
	return file.set("history", history)
}

// editRuntime edits what a container is started with.
func editRuntime(file object, o Options) error {
	config, err := parseObject(file["config"])
	if err != nil {
		return fmt.Errorf("parsing config: %w", err)
	}
	for name, value := range o.Config {
		if string(value) == "null" {
			delete(config, name)
		} else {
			config[name] = value
		}
	}
	if len(o.Env) > 0 {
		var env []string
		if err := config.get("Env", &env); err != nil {
			return err
		}
		if err := config.set("Env", mergeEnv(env, o.Env)); err != nil {
			return err
		}
	}
	for name, value := range o.Labels {
		if err := config.put("Labels", name, value); err != nil {
			return err
		}
	}
	for _, p := range o.Ports {
		port, err := parsePort(p)
		if err != nil {
			return err
		}
		if err := config.put("ExposedPorts", port, struct{}{}); err != nil {
			return err
		}
	}
	if o.User != nil {
		if err := config.set("User", *o.User); err != nil {
			return err
		}
	}
	return file.set("config", config)
}

// put sets a member of the object that is o's member key.
func (o object) put(key, name string, v any) error {
	inner, err := parseObject(o[key])
	if err != nil {
		return fmt.Errorf("parsing %s: %w", key, err)
	}
	if err := inner.set(name, v); err != nil {
		return err
	}
	return o.set(key, inner)
}

// mergeEnv replaces the values of names that are there, at their place, and
// appends the others. A name that the base has twice is left once.
func mergeEnv(env, added []string) []string {
	for _, kv := range added {
		name, _, _ := strings.Cut(kv, "=")
		same := func(have string) bool { return strings.HasPrefix(have, name+"=") }
		i := slices.IndexFunc(env, same)
		if i < 0 {
			env = append(env, kv)
			continue
		}
		rest := slices.DeleteFunc(slices.Clone(env[i+1:]), same)
		env = append(append(env[:i], kv), rest...)
	}
	return env
}

// CheckPorts reports the first port that is none.
func CheckPorts(ports []string) error {
	for _, p := range ports {
		if _, err := parsePort(p); err != nil {
			return err
		}
	}
	return nil
}

// parsePort returns a port as the config writes it: number and protocol.
func parsePort(s string) (string, error) {
	number, protocol, ok := strings.Cut(s, "/")
	if !ok {
		protocol = "tcp"
	}
	n, err := strconv.ParseUint(number, 10, 16)
	if err != nil || n == 0 || strconv.FormatUint(n, 10) != number {
		return "", fmt.Errorf("port %q: %q is no number from 1 to 65535", s, number)
	}
	switch protocol {
	case "tcp", "udp", "sctp":
		return number + "/" + protocol, nil
	}
	return "", fmt.Errorf("port %q: %q is no protocol; it is tcp, udp or sctp", s, protocol)
}
