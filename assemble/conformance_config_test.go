package assemble_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// normalConfig is a config file's "config" object without what is empty, and what
// else a Dockerfile sets.
func normalConfig(raw []byte) (string, error) {
	var file struct {
		Author string         `json:"author"`
		Config map[string]any `json:"config"`
	}
	if err := json.Unmarshal(raw, &file); err != nil {
		return "", err
	}
	out := map[string]any{}
	for _, key := range []string{"User", "ExposedPorts", "Env", "Entrypoint", "Cmd", "Volumes",
		"WorkingDir", "Labels", "StopSignal", "Healthcheck", "OnBuild", "Shell"} {
		switch v := file.Config[key].(type) {
		case nil:
		case string:
			// "/" is what an image without WorkingDir runs in.
			if v != "" && (key != "WorkingDir" || v != "/") {
				out[key] = v
			}
		case []any:
			// An empty entry point is not the same as none, but nobody's runtime differs.
			if len(v) > 0 {
				out[key] = v
			}
		case map[string]any:
			if len(v) > 0 {
				out[key] = v
			}
		}
	}
	if file.Author != "" {
		out["author"] = file.Author
	}
	var b strings.Builder
	sep := "{"
	for _, key := range slices.Sorted(maps.Keys(out)) {
		value, err := compactJSON(out[key])
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&b, "%s\n  %q: %s", sep, key, value)
		sep = ","
	}
	if len(out) == 0 {
		return "{}\n", nil
	}
	return b.String() + "\n}\n", nil
}

func compactJSON(v any) (string, error) {
	var buf bytes.Buffer
	e := json.NewEncoder(&buf)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return strings.TrimSpace(buf.String()), err
}

// history is what each step is said to have been.
func history(raw []byte) (string, error) {
	var file struct {
		History []struct {
			CreatedBy  string `json:"created_by"`
			EmptyLayer bool   `json:"empty_layer"`
		} `json:"history"`
	}
	if err := json.Unmarshal(raw, &file); err != nil {
		return "", err
	}
	var out strings.Builder
	for _, h := range file.History {
		if h.EmptyLayer {
			out.WriteString("(empty) ")
		}
		fmt.Fprintln(&out, h.CreatedBy)
	}
	return out.String(), nil
}
