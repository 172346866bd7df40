package site

import (
	"path"
	"slices"
	"strconv"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Server is what an image's configuration says of the nginx in it.
type Server struct {
	Port int    // that the base listens on
	User string // of the base; "" is root
	// Hooks says that the entrypoint runs what is in /docker-entrypoint.d first.
	Hooks bool
	// OwnConf is the line of the base's history that brought it a configuration of its
	// own, "" for none. A default.conf would then take the place of what somebody wrote.
	OwnConf string
}

// mainConf is where an nginx looks that nobody told otherwise.
const mainConf = "/etc/nginx/nginx.conf"

// Detect recognises an image that starts nginx with its usual configuration, by what
// it executes and not by its name.
func Detect(config v1.ConfigFile) (Server, bool) {
	c := config.Config
	command := slices.Concat(c.Entrypoint, c.Cmd)
	at := slices.IndexFunc(command, isNginx)
	arguments := command[at+1:]
	if n := len(command); at < 0 && n >= 2 && command[n-2] == "-c" {
		// The shell form of CMD and ENTRYPOINT.
		words := strings.Fields(strings.TrimPrefix(strings.TrimSpace(command[n-1]), "exec "))
		if len(words) == 0 || !isNginx(words[0]) {
			return Server{}, false
		}
		arguments = words[1:]
	} else if at < 0 {
		return Server{}, false
	}
	if i := slices.Index(arguments, "-c"); i >= 0 &&
		(i+1 == len(arguments) || arguments[i+1] != mainConf) {
		return Server{}, false
	}
	s := Server{
		User:    c.User,
		Hooks:   at == 1 && path.Base(command[0]) == "docker-entrypoint.sh",
		OwnConf: ownConf(config.History),
	}
	s.Port = exposed(c.ExposedPorts)
	if s.Port == 0 {
		s.Port = 80
		if !isRoot(s.User) {
			s.Port = 8080
		}
	}
	return s, true
}

func isNginx(word string) bool {
	base := path.Base(word)
	return base == "nginx" || base == "nginx-debug"
}

// exposed is the lowest TCP port of plain http; 0 is none.
func exposed(ports map[string]struct{}) int {
	lowest := 0
	for text := range ports {
		number, protocol, _ := strings.Cut(text, "/")
		n, err := strconv.ParseUint(number, 10, 16)
		if err != nil || protocol == "udp" || n == 0 || n == 443 || n == 8443 {
			continue
		}
		if lowest == 0 || int(n) < lowest {
			lowest = int(n)
		}
	}
	return lowest
}

// ownConf finds the step that copied something into nginx's configuration. The
// official images have none: theirs comes with a package.
func ownConf(history []v1.History) string {
	for _, h := range slices.Backward(history) {
		words := strings.Fields(h.CreatedBy)
		copies := slices.Contains(words, "COPY") || slices.Contains(words, "ADD")
		if !h.EmptyLayer && copies && slices.ContainsFunc(words, isConf) {
			return h.CreatedBy
		}
	}
	return ""
}

func isConf(word string) bool {
	clean := path.Clean(strings.Trim(word, `"[],`))
	return clean == "/etc/nginx" || strings.HasPrefix(clean, "/etc/nginx/")
}

func isRoot(user string) bool {
	name, _, _ := strings.Cut(user, ":")
	return name == "" || name == "root" || name == "0"
}

// Listen is the port that the image listens on with these options.
func (s Server) Listen(o ServeOptions) int {
	switch {
	case o.Port != 0:
		return o.Port
	case s.Port < 1024 && s.takesOver(o):
		return 8080
	}
	return s.Port
}

// takesOver says that the image's user is not root, and the base's was: its nginx.conf
// then names a pid file and directories that this user cannot write.
func (s Server) takesOver(o ServeOptions) bool {
	return isRoot(s.User) && o.User != "" && !isRoot(o.User)
}
