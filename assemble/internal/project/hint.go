package project

import (
	"regexp"
	"strings"
)

// cause is a known reason for which a step fails: what its last lines say, and
// the way out.
type cause struct {
	says *regexp.Regexp
	hint string
}

// causes is in the order in which they are looked for: what one error says often
// has another's words in it.
var causes = []cause{
	{re(`heap out of memory|Allocation failed - JavaScript heap|(code|status) 134\b`),
		"node reached its heap's limit: raise it with --env-build " +
			"NODE_OPTIONS=--max-old-space-size=4096"},
	{re(`file watchers reached`),
		"the command watches files, and so does not end: give one that builds once with " +
			"--build-command"},
	{re(`ENOSPC|[Nn]o space left on device`), "the disk is full: free it with decant cache prune"},
	{re(`Missing: \S*(darwin|linux|win32|freebsd|android|wasm32|openharmony)\S* from lock file`),
		"the lockfile lacks binaries for other platforms, which npm ci insists on; it was written " +
			"against a registry without them: use --install-command 'npm install --include=dev'"},
	{re(`can only install with an existing package-lock`),
		"npm ci wants a lockfile: run npm install on your machine and commit package-lock.json"},
	{re(`can only install packages when your package\.json|ERR_PNPM_OUTDATED_LOCKFILE|` +
		`Your lockfile needs to be updated|YN0028|lockfile would have been modified|` +
		`lockfile had changes`),
		"package.json and the lockfile disagree: run the install on your machine and commit the " +
			"lockfile"},
	{re(`Cannot find native binding|Cannot find module \S*linux-(x64|arm64)|` +
		`could not be found, and is needed by esbuild|installed esbuild for another platform|` +
		`Failed to load SWC binary`),
		"a binary for this platform is not in the lockfile, which was written on another one: " +
			"delete node_modules and the lockfile, install again, and commit it"},
	{re(`Failed to replace env in config|Environment variable not found \(`),
		"a variable that .npmrc or .yarnrc.yml names is not set in the build: give it with " +
			"--env-build NAME=VALUE, or the whole file with --secret id=npmrc,src=$HOME/.npmrc"},
	{re(`\bE40[13]\b|ERR_PNPM_FETCH_40[13]|YN0041|\b40[13] (Unauthorized|Forbidden)|` +
		`ENEEDAUTH|authentication token not provided|GET https?://\S+ - 40[13]\b`),
		"the package registry wants credentials: give them with --secret id=npmrc,src=$HOME/.npmrc"},
	{re(`\bE404\b|ERR_PNPM_FETCH_404|YN0035|404 Not Found|GET https?://\S+ - 404\b|` +
		`https?://\S+: Not found"`),
		"the registry has no such package, or shows it only to those who log in: " +
			"check the name, or give --secret id=npmrc,src=$HOME/.npmrc"},
	{re(`SELF_SIGNED_CERT|UNABLE_TO_(GET_ISSUER_CERT|VERIFY_LEAF)|self.signed certificate|` +
		`unable to (get local issuer|verify the first certificate)`),
		"the connection has a certificate of an unknown authority, as behind a company's proxy: " +
			"set NODE_EXTRA_CA_CERTS to its PEM file"},
	{re(`fonts\.(googleapis|gstatic)\.com|Google Fonts|internal/font/google`),
		"the build fetches Google Fonts: allow the network, or have the fonts in the project " +
			"(next/font/local)"},
	{re(`ENOTCACHED`), "this package is not in the cache, and the network is off"},
	{re(`\b(ENOTFOUND|EAI_AGAIN|ENETUNREACH|EHOSTUNREACH|ECONNREFUSED|ETIMEDOUT|ECONNRESET)\b|` +
		`getaddrinfo|\bConnectionRefused\b`),
		"the network was not reached: check proxies (HTTPS_PROXY) and --network"},
	{re(`spawn git\b|git: (not found|command not found)|not a git repository`),
		"the build calls git: slim images have none, and .git is not copied; take --builder " +
			"docker.io/library/node:24, and pass what it asks of git with --env-build"},
	{re(`husky: (command )?not found`),
		`husky is for people's machines: write "prepare": "husky || true" into package.json`},
	{re(`gyp ERR!|node-gyp|make: (not found|command not found)|` +
		`\b(cc|gcc|c\+\+|g\+\+): (not found|command not found|No such file)`),
		"a dependency compiles native code, and slim images have no compiler: take --builder " +
			"docker.io/library/node:24"},
	{re(`Treating warnings as errors because process\.env\.CI`),
		"warnings are errors where CI is set: mend them, or give --env-build CI=false"},
	{re(`code EBADENGINE|ERR_PNPM_UNSUPPORTED_ENGINE|engine "node" is incompatible|` +
		`requires (a |at least )?(minimum )?Node(\.js)?|Node\.js version \S+ is required`),
		"a package wants another node: write its version into .nvmrc, or choose the image with " +
			"--builder"},
	{re(`EUNSUPPORTEDPROTOCOL`),
		"npm does not know such versions, which pnpm and yarn do: name the one that you use as " +
			"packageManager in package.json"},
	{re(`ERR_PNPM_IGNORED_BUILDS`),
		"pnpm does not run the install scripts of dependencies: list those that need it in " +
			"onlyBuiltDependencies"},
	{re(`ERR_OSSL_EVP_UNSUPPORTED|digital envelope routines::unsupported`),
		"this webpack is older than OpenSSL 3: give --env-build " +
			"NODE_OPTIONS=--openssl-legacy-provider, or node 16 in .nvmrc"},
}

func re(s string) *regexp.Regexp { return regexp.MustCompile(s) }

// What package managers make of a command's end, for their own exit code is another.
var (
	killed   = re(`signal SIGKILL|(code|status) 137\b|(?m)^Killed$`)
	notFound = re(`(?m)^(/bin/)?sh: (\d+: |line \d+: )?[\w.-]+: (command )?not found`)
)

// Exit codes of a shell that mean something: 128 and a signal's number.
const (
	codeNotFound = 127
	codeAborted  = 128 + 6
	codeKilled   = 128 + 9
)

// Hint names the likely cause of a failed step ("setup", "install" or "build")
// from its exit code and last output, and what to do; "" if it is none of the
// known ones.
func Hint(step string, code int, tail string) string {
	for _, c := range causes {
		if c.says.MatchString(tail) {
			return c.hint
		}
	}
	switch {
	case code == codeKilled || killed.MatchString(tail):
		return "it was killed, mostly because memory ran out: give the machine or the container more"
	case code == codeAborted:
		return causes[0].hint
	case (code == codeNotFound || notFound.MatchString(tail)) && step == "build":
		return "the command is not installed: add it to devDependencies, and check that the install " +
			"has them"
	case code == codeNotFound:
		return "the image lacks the command: choose another with --builder"
	case step == "setup":
		return "the package manager could not be installed: pin a version that exists with " +
			"packageManager in package.json"
	case strings.TrimSpace(tail) == "":
		return "it said nothing: run the same command on your machine"
	}
	return ""
}
