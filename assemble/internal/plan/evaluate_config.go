package plan

import (
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

// setEnv sets a variable of the image, in the place where it has it.
func (e *evaluation) setEnv(name, value string) error {
	kv := name + "=" + value
	if i, ok := e.envIndex[name]; ok {
		e.state.Config.Env[i] = kv
	} else {
		e.envIndex[name] = len(e.state.Config.Env)
		e.state.Config.Env = append(e.state.Config.Env, kv)
	}
	return e.env.set(name, value)
}

func (e *evaluation) evalEnv(n *parser.Node, p *instructions.EnvCommand) (string, error) {
	// All of its values are expanded before one of them counts.
	created, err := e.pairs(n, "ENV", p.Env)
	if err != nil {
		return "", err
	}
	for _, kv := range p.Env {
		if kv.Key == "" || strings.Contains(kv.Key, "=") {
			return "", fmt.Errorf("%q is no name of a variable", kv.Key)
		}
		e.lintSecret(n, "ENV", kv.Key)
		if err := e.setEnv(kv.Key, kv.Value); err != nil {
			return "", err
		}
	}
	return created, nil
}

func (e *evaluation) evalLabel(n *parser.Node, p *instructions.LabelCommand) (string, error) {
	created, err := e.pairs(n, "LABEL", p.Labels)
	if err != nil {
		return "", err
	}
	if e.state.Config.Labels == nil {
		e.state.Config.Labels = map[string]string{}
	}
	for _, kv := range p.Labels {
		e.state.Config.Labels[kv.Key] = kv.Value
	}
	return created, nil
}

// pairs expands the pairs of ENV or LABEL in place and writes them for the
// history.
func (e *evaluation) pairs(
	n *parser.Node, name string, pairs instructions.KeyValuePairs,
) (string, error) {
	created := strings.Builder{}
	created.WriteString(name)
	for i := range pairs {
		kv := &pairs[i]
		if kv.NoDelim {
			e.lint.rules.Run(&linter.RuleLegacyKeyValueFormat, n.Location(),
				linter.RuleLegacyKeyValueFormat.Format(n.Value))
		}
		var err error
		if kv.Key, err = e.expand(n, kv.Key); err != nil {
			return "", err
		}
		if kv.Value, err = e.expand(n, kv.Value); err != nil {
			return "", err
		}
		created.WriteString(" " + kv.Key + "=" + kv.Value)
	}
	return created.String(), nil
}

// evalArg declares arguments. Their value is the given one, or the default, or
// that of the ARG of this name before the first FROM.
func (e *evaluation) evalArg(n *parser.Node, p *instructions.ArgCommand) (string, error) {
	created := "ARG"
	for _, a := range p.Args {
		e.lintSecret(n, "ARG", a.Key)
		value := a.Value
		if given, ok := e.g.buildArgs[a.Key]; ok {
			value = &given
		} else if value != nil {
			expanded, err := e.expand(n, *value)
			if err != nil {
				return "", err
			}
			value = &expanded
		} else if meta, ok := e.g.meta.Get(a.Key); ok {
			value = &meta
		}
		e.state.Args = append(e.state.Args, Arg{a.Key, value})
		e.declared[a.Key] = true
		created += " " + a.Key
		if value != nil {
			created += "=" + *value
			if err := e.env.set(a.Key, *value); err != nil {
				return "", err
			}
		}
	}
	return created, nil
}

func (e *evaluation) evalWorkdir(
	origin Origin, n *parser.Node, p *instructions.WorkdirCommand,
) error {
	dir, err := e.expand(n, p.Path)
	if err != nil {
		return err
	}
	if !e.state.WorkdirSet && !path.IsAbs(dir) {
		e.lint.rules.Run(&linter.RuleWorkdirRelativePath, n.Location(),
			linter.RuleWorkdirRelativePath.Format(dir))
	}
	e.state.WorkdirSet = true
	if !path.IsAbs(dir) {
		dir = path.Join(e.workingDir(), dir)
	}
	// An absolute path is kept as it is written, as BuildKit does.
	e.state.Config.WorkingDir = dir
	origin.CreatedBy = "WORKDIR " + dir
	e.step(WorkdirExec{Origin: origin, Dir: e.workingDir(), User: e.state.Config.User}, len(dir))
	return nil
}

// evalMeta carries out what changes the configuration alone, and has little to
// say about it.
func (e *evaluation) evalMeta(n *parser.Node, parsed any) (created string, err error) {
	c := &e.state.Config
	switch p := parsed.(type) {
	case *instructions.CmdCommand:
		e.lintOnce(n, &e.cmd)
		c.Cmd, c.ArgsEscaped = e.shellForm(n, p.ShellDependantCmdLine), true
		return fmt.Sprintf("CMD %q", c.Cmd), nil
	case *instructions.EntrypointCommand:
		e.lintOnce(n, &e.entrypoint)
		c.Entrypoint = e.shellForm(n, p.ShellDependantCmdLine)
		if e.cmd == nil {
			// The base's is for the base's entrypoint.
			c.Cmd = nil
		}
		return fmt.Sprintf("ENTRYPOINT %q", c.Entrypoint), nil
	case *instructions.HealthCheckCommand:
		e.lintOnce(n, &e.healthcheck)
		h := Healthcheck(*p.Health)
		c.Healthcheck = &h
		return fmt.Sprintf("HEALTHCHECK %+v", h), nil
	case *instructions.ShellCommand:
		c.Shell = p.Shell
		return fmt.Sprintf("SHELL %v", p.Shell), nil
	case *instructions.UserCommand:
		c.User, err = e.expand(n, p.User)
		return "USER " + c.User, err
	case *instructions.StopSignalCommand:
		c.StopSignal, err = e.expand(n, p.Signal)
		if err == nil {
			err = checkSignal(c.StopSignal)
		}
		return "STOPSIGNAL " + c.StopSignal, err
	case *instructions.MaintainerCommand:
		e.state.Author = p.Maintainer
		return "MAINTAINER " + p.Maintainer, nil
	case *instructions.OnbuildCommand:
		c.OnBuild = append(c.OnBuild, p.Expression)
		return "", nil
	case *instructions.ExposeCommand:
		return e.evalExpose(n, p.Ports)
	case *instructions.VolumeCommand:
		return e.evalVolume(n, p.Volumes)
	}
	return "", errors.New("the instruction is not supported")
}

func (e *evaluation) evalVolume(n *parser.Node, volumes []string) (string, error) {
	if err := e.expandAll(n, volumes); err != nil {
		return "", err
	}
	if slices.Contains(volumes, "") {
		return "", errors.New("the name of a volume is empty")
	}
	if e.state.Config.Volumes == nil {
		e.state.Config.Volumes = map[string]struct{}{}
	}
	for _, v := range volumes {
		e.state.Config.Volumes[v] = struct{}{}
	}
	return fmt.Sprintf("VOLUME %v", volumes), nil
}

// shellForm is the arguments of CMD or ENTRYPOINT.
func (e *evaluation) shellForm(n *parser.Node, p instructions.ShellDependantCmdLine) []string {
	if !p.PrependShell {
		return p.CmdLine
	}
	if len(e.state.Config.Shell) == 0 {
		e.lint.rules.Run(&linter.RuleJSONArgsRecommended, n.Location(),
			linter.RuleJSONArgsRecommended.Format(n.Value))
	}
	return e.withShell(p.CmdLine)
}

// withShell makes the shell execute a command line.
func (e *evaluation) withShell(args []string) []string {
	shell := e.state.Config.Shell
	if len(shell) == 0 {
		shell = []string{"/bin/sh", "-c"}
	}
	return append(slices.Clone(shell), strings.Join(args, " "))
}

// The names of variables that hold secrets, and of those that only look so.
var (
	secretName = regexp.MustCompile(
		`(?i)(?:_|^)(?:apikey|auth|credentials?|key|password|pword|passwd|secret|token)(?:_|$)`)
	publicName = regexp.MustCompile(`(?i)(?:_|^)(?:public|file|version)(?:_|$)`)
)

// lintSecret warns of a secret that would be in the image's history.
func (e *evaluation) lintSecret(n *parser.Node, instruction, name string) {
	if secretName.MatchString(name) && !publicName.MatchString(name) {
		e.lint.rules.Run(&linter.RuleSecretsUsedInArgOrEnv, n.Location(),
			linter.RuleSecretsUsedInArgOrEnv.Format(instruction, name))
	}
}
