package plan

import (
	"errors"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

// scriptDir is where a here-document is that is a program of its own.
const scriptDir = "/dev/pipes/"

func (e *evaluation) evalRun(origin Origin, c command, p *instructions.RunCommand) error {
	err := p.Expand(func(word string) (string, error) { return e.expand(c.node, word) })
	if err != nil {
		return err
	}
	x := RunExec{Origin: origin, Env: e.env.list(), Dir: e.workingDir(), User: e.state.Config.User}
	if x.Argv, x.Files, err = e.commandLine(p); err != nil {
		return err
	}
	if network := instructions.GetNetwork(p); network != instructions.NetworkDefault {
		x.Network = network
	}
	for _, kv := range e.g.proxies {
		name, _, _ := strings.Cut(kv, "=")
		if _, set := e.env.Get(name); !set {
			x.ProxyEnv = append(x.ProxyEnv, kv)
		}
	}
	agents := 0
	for _, m := range instructions.GetMounts(p) {
		mount, err := e.mount(m, &agents)
		if err != nil {
			return err
		}
		x.Mounts = append(x.Mounts, mount)
		e.needs.add(mount.From)
	}
	x.CreatedBy = "RUN " + e.withArgs(x.Argv) + " # buildkit"
	e.step(x, len(x.CreatedBy))
	return nil
}

// commandLine is what a RUN executes. A here-document that is all of it is a
// script for the shell, or with "#!" a program; any other goes to the shell as it
// is written. In none of them are variables expanded.
func (e *evaluation) commandLine(p *instructions.RunCommand) ([]string, []InlineFile, error) {
	args := p.CmdLine
	if len(p.Files) == 0 {
		if p.PrependShell {
			return e.withShell(args), nil, nil
		}
		if len(args) == 0 {
			return nil, nil, errors.New("it names no command")
		}
		return args, nil, nil
	}
	if len(args) != 1 || !p.PrependShell {
		return nil, nil, errors.New("a here-document needs the shell form")
	}
	doc := p.Files[0]
	if parser.MustParseHeredoc(args[0]) == nil {
		script := strings.Builder{}
		script.WriteString(args[0])
		for _, f := range p.Files {
			script.WriteString("\n" + f.Data + f.Name)
		}
		return e.withShell([]string{script.String()}), nil, nil
	}
	text := doc.Data
	if doc.Chomp {
		text = parser.ChompHeredocContent(text)
	}
	if !strings.HasPrefix(text, "#!") {
		return e.withShell([]string{text}), nil, nil
	}
	file := InlineFile{Name: scriptDir + doc.Name, Data: []byte(text)}
	return e.withShell([]string{file.Name}), []InlineFile{file}, nil
}

// withArgs writes a command for the history, behind the arguments that it sees.
func (e *evaluation) withArgs(argv []string) string {
	var args []string
	at := map[string]int{}
	for _, a := range e.state.Args {
		value, ok := e.env.Get(a.Name)
		if !ok && a.Value != nil {
			value = *a.Value
		}
		kv := a.Name + "=" + value
		if i, seen := at[a.Name]; seen {
			args[i] = kv
			continue
		}
		at[a.Name] = len(args)
		args = append(args, kv)
	}
	if len(args) > 0 {
		args = slices.Insert(args, 0, "|"+strconv.Itoa(len(args)))
	}
	return strings.Join(append(args, argv...), " ")
}

// mount fills in what a --mount leaves out. agents counts those of type ssh.
func (e *evaluation) mount(m *instructions.Mount, agents *int) (RunMount, error) {
	out := RunMount{Type: string(m.Type), ReadOnly: m.ReadOnly, ID: m.CacheID, Required: m.Required,
		Mode: narrow(m.Mode), UID: narrow(m.UID), GID: narrow(m.GID), SizeLimit: m.SizeLimit}
	var err error
	switch m.Type {
	case instructions.MountTypeSecret:
		return e.secret(m, out)
	case instructions.MountTypeSSH:
		return e.agent(m, out, agents)
	case instructions.MountTypeTmpfs:
		out.ReadOnly = false
		out.From.Kind = SourceScratch
	case instructions.MountTypeCache:
		out.From.Kind = SourceScratch
		if out.Sharing = string(m.CacheSharing); out.Sharing == "" {
			out.Sharing = string(instructions.MountSharingShared)
		}
		if out.ID == "" {
			out.ID = path.Clean(m.Target)
		}
	}
	if m.From != "" && m.Type != instructions.MountTypeTmpfs {
		if out.From, err = e.g.file.source(m.From, e.stage.Index); err != nil {
			return out, err
		}
	}
	out.Source = path.Join("/", m.Source)
	out.Target = e.absolute(m.Target)
	if out.Target == "/" {
		return out, wrong("", "%q cannot be mounted on", m.Target)
	}
	return out, nil
}

func (e *evaluation) secret(m *instructions.Mount, out RunMount) (RunMount, error) {
	if m.Source != "" {
		out.ID = m.Source
	}
	if out.ID == "" {
		out.ID = path.Base(m.Target)
	}
	out.ReadOnly = true
	switch {
	case m.Target != "":
		out.Target = e.absolute(m.Target)
	case m.Env == nil:
		out.Target = "/run/secrets/" + path.Base(out.ID)
	}
	if m.Env != nil {
		if out.Env = *m.Env; out.Env == "" {
			out.Env = out.ID
		}
	}
	if out.Target == "/" || strings.ContainsAny(out.Env, "=\x00") {
		return out, wrong("", "the secret %q has no place", out.ID)
	}
	return out, nil
}

func (e *evaluation) agent(m *instructions.Mount, out RunMount, agents *int) (RunMount, error) {
	if out.ID == "" {
		out.ID = "default"
	}
	out.Target = "/run/buildkit/ssh_agent." + strconv.Itoa(*agents)
	if m.Target != "" {
		out.Target = e.absolute(m.Target)
	}
	if *agents == 0 {
		out.Env = "SSH_AUTH_SOCK"
	}
	*agents++
	if out.Target == "/" {
		return out, wrong("", "%q cannot be mounted on", m.Target)
	}
	return out, nil
}

// absolute is a path of an instruction, in the working directory, clean.
func (e *evaluation) absolute(p string) string {
	if path.IsAbs(p) {
		return path.Clean(p)
	}
	return path.Join(e.workingDir(), p)
}

// narrow makes 32 bits of what was parsed as 32 bits.
func narrow(v *uint64) *uint32 {
	if v == nil {
		return nil
	}
	n := uint32(*v)
	return &n
}
