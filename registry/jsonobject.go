package registry

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
)

// jsonObject is a JSON object whose order and values are kept as they are
// written, so that a file of somebody else can be changed in one place.
type jsonObject []jsonMember

type jsonMember struct {
	key   string
	value json.RawMessage
}

func parseObject(data []byte) (jsonObject, error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil, errors.New("not a JSON object")
	}
	var o jsonObject
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return nil, err
		}
		m := jsonMember{}
		if m.key, _ = key.(string); dec.Decode(&m.value) != nil {
			return nil, errors.New("not a JSON object")
		}
		o = append(o, m)
	}
	_, err := dec.Token()
	return o, err
}

func (o jsonObject) get(key string) json.RawMessage {
	for _, m := range o {
		if m.key == key {
			return m.value
		}
	}
	return nil
}

func (o *jsonObject) set(key string, value json.RawMessage) { *o = o.with(key, value) }

// with returns a copy in which key has a value.
func (o jsonObject) with(key string, value json.RawMessage) jsonObject {
	out := slices.Clone(o)
	for i := range out {
		if out[i].key == key {
			out[i].value = value
			return out
		}
	}
	return append(out, jsonMember{key, value})
}

// without returns a copy that lacks key.
func (o jsonObject) without(key string) jsonObject {
	return slices.DeleteFunc(slices.Clone(o), func(m jsonMember) bool { return m.key == key })
}

// text writes the object as docker does, with tabs; indent is that of the line it
// starts on.
func (o jsonObject) text(indent string) json.RawMessage {
	if len(o) == 0 {
		return json.RawMessage("{}")
	}
	var b bytes.Buffer
	b.WriteString("{\n")
	for i, m := range o {
		key, _ := json.Marshal(m.key) // a string does not fail
		b.WriteString(indent + "\t" + string(key) + ": ")
		b.Write(m.value)
		if i < len(o)-1 {
			b.WriteByte(',')
		}
		b.WriteByte('\n')
	}
	b.WriteString(indent + "}")
	return b.Bytes()
}
