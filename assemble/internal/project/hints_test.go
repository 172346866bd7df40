package project

import (
	"strings"
	"testing"
)

// TestHintReadsWhatToolsPrint gives the last lines of failed steps at the length
// and with the decoration that tools give them.
func TestHintReadsWhatToolsPrint(t *testing.T) {
	const (
		disagree = "disagree"
		platform = "written on another"
		memory   = "max-old-space-size"
		login    = "--secret id=npmrc"
		ca       = "NODE_EXTRA_CA_CERTS"
		network  = "--network"
		compiler = "--builder"
	)
	tests := []struct {
		name, step string
		code       int
		tail       string
		want       string
	}{
		{"npm ci, out of step", "install", 1, `npm error code EUSAGE
npm error
npm error ` + "`npm ci`" + ` can only install packages when your package.json and package-lock.json or npm-shrinkwrap.json are in sync. Please update your lock file with ` + "`npm install`" + ` before continuing.
npm error
npm error Invalid: lock file's vue@3.4.21 does not satisfy vue@3.5.0
npm error Missing: @vue/shared@3.5.0 from lock file
npm error
npm error A complete log of this run can be found in: /root/.npm/_logs/2025-01-01T00_00_00_000Z-debug-0.log`, disagree},
		{"npm ci, no lockfile", "install", 1, `npm error code EUSAGE
npm error
npm error The ` + "`npm ci`" + ` command can only install with an existing package-lock.json or
npm error npm-shrinkwrap.json with lockfileVersion >= 1. Run an install with npm@5 or`, "package-lock.json"},
		{"pnpm, out of step", "install", 1, ` ERR_PNPM_OUTDATED_LOCKFILE  Cannot install with "frozen-lockfile" because pnpm-lock.yaml is not up to date with <ROOT>/package.json

Note that in CI environments this setting is true by default. If you still need to run install in such cases, use "pnpm install --no-frozen-lockfile"`, disagree},
		{"yarn 1, out of step", "install", 1, `[1/4] Resolving packages...
error Your lockfile needs to be updated, but yarn was run with ` + "`--frozen-lockfile`" + `.`, disagree},
		{"berry, out of step", "install", 1, `➤ YN0000: ┌ Post-resolution validation
➤ YN0028: │ -"vue@npm:^3.4.0":
➤ YN0028: │ The lockfile would have been modified by this install, which is explicitly forbidden.
➤ YN0000: └ Completed
➤ YN0000: · Failed with errors in 0s 412ms`, disagree},
		{"bun, out of step", "install", 1, `bun install v1.2.0 (b0c5a765)
Resolving dependencies
error: lockfile had changes, but lockfile is frozen
note: try re-running without --frozen-lockfile and commit the updated lockfile`, disagree},
		{"npm ci, other platforms", "install", 1, `npm error code EUSAGE
npm error ` + "`npm ci`" + ` can only install packages when your package.json and package-lock.json are in sync.
npm error Missing: @rolldown/binding-wasm32-wasi@1.0.0-beta.9 from lock file
npm error Missing: @emnapi/core@1.4.3 from lock file`, "--install-command"},
		{"rollup, another platform", "build", 1, `/app/node_modules/rollup/dist/native.js:63
		throw new Error(
		      ^

Error: Cannot find module @rollup/rollup-linux-x64-gnu. npm has a bug related to optional dependencies (https://github.com/npm/cli/issues/4828). Please try ` + "`npm i`" + ` again after removing both package-lock.json and node_modules directory.
    at requireWithFriendlyError (/app/node_modules/rollup/dist/native.js:45:9) {
  [cause]: Error: Cannot find module '@rollup/rollup-linux-x64-gnu'
  code: 'MODULE_NOT_FOUND'`, platform},
		{"rollup for musl, another platform", "build", 1,
			`Error: Cannot find module '@rollup/rollup-linux-arm64-musl'`, platform},
		{"lightningcss, another platform", "build", 1,
			`[vite] Cannot find module '../lightningcss.linux-x64-gnu.node'`, platform},
		{"swc, another platform", "build", 1, ` ⚠ Attempted to load @next/swc-linux-x64-gnu, but it was not installed
 ⨯ Failed to load SWC binary for linux/x64, see more info here: https://nextjs.org/docs/messages/failed-loading-swc`,
			platform},
		{"esbuild, another platform", "build", 1, `Error: The package "@esbuild/linux-x64" could not be found, and is needed by esbuild.
You specified using "@esbuild/darwin-arm64"`, platform},
		{"esbuild, copied from another platform", "build", 1, `Error:
You installed esbuild for another platform than the one you're currently using.
This won't work because esbuild is written with native code`, platform},
		{"rolldown, another platform", "build", 1, `Error: Cannot find native binding. npm has a bug related to optional dependencies (https://github.com/npm/cli/issues/4828).
  [cause]: Error: Cannot find module '@rolldown/binding-linux-x64-gnu'`, platform},
		{"heap", "build", 134, `<--- Last few GCs --->
[17:0x2f3b6f0]    52341 ms: Mark-Compact 4045.1 (4137.4) -> 4031.6 (4139.7) MB, 2134.85 / 0.00 ms
<--- JS stacktrace --->
FATAL ERROR: Ineffective mark-compacts near heap limit Allocation failed - JavaScript heap out of memory
----- Native stack trace -----
 1: 0xe3aaf6 node::OOMErrorHandler(char const*, v8::OOMDetails const&) [node]`, memory},
		{"heap, through npm", "build", 1, `Aborted (core dumped)
npm error Lifecycle script ` + "`build`" + ` failed with error:
npm error code 134
npm error path /app`, memory},
		{"killed", "build", 137, "transforming...\nKilled", "memory"},
		{"killed, through npm", "build", 1, `npm error path /app
npm error command failed
npm error signal SIGKILL
npm error command sh -c vite build`, "memory"},
		{"E401", "install", 1, `npm error code E401
npm error 401 Unauthorized - GET https://npm.pkg.github.com/@acme%2fui - unauthenticated: User cannot be authenticated with the token provided.`, login},
		{"E403", "install", 1, `npm error code E403
npm error 403 403 Forbidden - GET https://npm.corp.example/@acme/ui/-/ui-1.0.0.tgz`, login},
		{"ENEEDAUTH", "install", 1, `npm error code ENEEDAUTH
npm error need auth This command requires you to be logged in to https://npm.corp.example/`, login},
		{"E404", "install", 1, `npm error code E404
npm error 404 Not Found - GET https://registry.npmjs.org/@acme%2fui - Not found
npm error 404  '@acme/ui@^1.0.0' is not in this registry.`, login},
		{"pnpm 401", "install", 1, ` ERR_PNPM_FETCH_401  GET https://npm.pkg.github.com/@acme%2Fui: Unauthorized - 401
No authorization header was set for the request.`, login},
		{"yarn 1, 401", "install", 1, `error An unexpected error occurred: "https://npm.pkg.github.com/@acme%2fui: authentication token not provided".`, login},
		{"yarn 1, 404", "install", 1, `error An unexpected error occurred: "https://registry.yarnpkg.com/@acme%2fui: Not found".`, login},
		{"berry, 401", "install", 1, `➤ YN0041: │ @acme/ui@npm:^1.0.0: Invalid authentication (as an unknown user)`, login},
		{"berry, 404", "install", 1, `➤ YN0035: │ @acme/ui@npm:^1.0.0: Package not found
➤ YN0035: │   Response Code: 404 (Not Found)`, login},
		{"bun, 401", "install", 1, `error: GET https://npm.pkg.github.com/@acme%2fui - 401`, login},
		{"bun, 404", "install", 1, `error: GET https://registry.npmjs.org/@acme%2fui - 404`, login},
		{"unset token", "install", 1, `npm error code EUNKNOWNCONFIG
npm error Failed to replace env in config: ${NPM_TOKEN}`, "--env-build"},
		{"unset token, pnpm", "install", 1, ` WARN  Issue while reading "/app/.npmrc". Failed to replace env in config: ${NPM_TOKEN}`, "--env-build"},
		{"unset token, berry", "install", 1, `Usage Error: Environment variable not found (NPM_TOKEN) in /app/.yarnrc.yml (in /app/.yarnrc.yml)`, "--env-build"},
		{"own authority", "install", 1, `npm error code SELF_SIGNED_CERT_IN_CHAIN
npm error errno SELF_SIGNED_CERT_IN_CHAIN
npm error request to https://registry.npmjs.org/vite failed, reason: self-signed certificate in certificate chain`, ca},
		{"unknown issuer", "install", 1, `npm error code UNABLE_TO_GET_ISSUER_CERT_LOCALLY
npm error request to https://registry.npmjs.org/vite failed, reason: unable to get local issuer certificate`, ca},
		{"unverified leaf, berry", "install", 1, `➤ YN0001: │ RequestError: unable to verify the first certificate`, ca},
		{"older node", "install", 1, `npm ERR! request to https://registry.npmjs.org/vite failed, reason: self signed certificate in certificate chain`, ca},
		{"no name service", "install", 1, `npm error code ENOTFOUND
npm error network request to https://registry.npmjs.org/vite failed, reason: getaddrinfo ENOTFOUND registry.npmjs.org
npm error network This is a problem related to network connectivity.`, network},
		{"name service busy", "install", 1, ` WARN  GET https://registry.npmjs.org/vite error (EAI_AGAIN). Will retry in 10 seconds. 2 retries left.`, network},
		{"nobody listens", "install", 1, `npm error code ECONNREFUSED
npm error FetchError: request to http://localhost:4873/vite failed, reason: connect ECONNREFUSED 127.0.0.1:4873`, network},
		{"yarn 1, no network", "install", 1, `info There appears to be trouble with your network connection. Retrying...
error An unexpected error occurred: "https://registry.yarnpkg.com/vite: getaddrinfo EAI_AGAIN registry.yarnpkg.com".`, network},
		{"bun, no network", "install", 1, `error: ConnectionRefused downloading package manifest vite`, network},
		{"no python", "install", 1, `npm error code 1
npm error path /app/node_modules/re2
npm error command failed
npm error gyp ERR! find Python
npm error gyp ERR! find Python Python is not set from command line or npm configuration
npm error gyp ERR! find Python You need to install the latest version of Python.
npm error gyp ERR! not ok`, compiler},
		{"no make", "install", 1, `npm error gyp ERR! build error
npm error gyp ERR! stack Error: not found: make
npm error gyp ERR! stack at getNotFoundError (/usr/local/lib/node_modules/npm/node_modules/which/index.js:10:17)
npm error gyp ERR! not ok`, compiler},
		{"no compiler", "install", 1, "make: g++: No such file or directory\nmake: *** [binding.target.mk:133: x.o] Error 127", compiler},
		{"next/font", "build", 1, "Failed to compile.\n\napp/layout.tsx\n" + "`next/font`" + ` error:
Failed to fetch ` + "`Inter`" + ` from Google Fonts.`, "Google Fonts"},
		{"next/font, no network", "build", 1, `request to https://fonts.googleapis.com/css2?family=Inter failed, reason: getaddrinfo ENOTFOUND fonts.googleapis.com
 ⨯ Failed to fetch font ` + "`Inter`.", "Google Fonts"},
		{"next/font, Turbopack", "build", 1, "Module not found: Can't resolve '@vercel/turbopack-next/internal/font/google/font'", "Google Fonts"},
		{"angular, fonts", "build", 1, `✘ [ERROR] Inlining of fonts failed. https://fonts.googleapis.com/css2?family=Roboto returned status code: 403.`, "Google Fonts"},
		{"CRA, warnings", "build", 1, `Creating an optimized production build...

Treating warnings as errors because process.env.CI = true.
Most CI servers set it automatically.

Failed to compile.

[eslint]
src/App.js
  Line 3:8:  'logo' is defined but never used  no-unused-vars`, "CI=false"},
		{"no devDependencies", "build", 127, `> app@0.0.0 build
> vite build

sh: 1: vite: not found`, "devDependencies"},
		{"no devDependencies, through pnpm", "build", 1, ` ELIFECYCLE  Command failed.
sh: 1: vite: not found
 WARN   Local package.json exists, but node_modules missing, did you mean to install?`, "devDependencies"},
		{"no git", "build", 1, `fatal: not a git repository (or any of the parent directories): .git
Error: Command failed: git rev-parse --short HEAD`, "git"},
		{"no git at all", "build", 1, `/bin/sh: 1: git: not found
node:internal/errors:998
Error: Command failed: git rev-parse --short HEAD`, "git"},
		{"dependency from git", "install", 1, `npm error code ENOENT
npm error syscall spawn git
npm error path git
npm error errno -2
npm error enoent An unknown git error occurred`, "git"},
		{"husky", "install", 127, `> app@0.0.0 prepare
> husky install

husky - git command not found, skipping install
sh: 1: husky: not found`, "prepare"},
		{"engine-strict", "install", 1, `npm error code EBADENGINE
npm error engine Unsupported engine
npm error engine Not compatible with your version of node/npm: vite@7.0.0
npm error notsup Required: {"node":"^20.19.0 || >=22.12.0"}
npm error notsup Actual:   {"npm":"10.8.2","node":"v18.20.8"}`, ".nvmrc"},
		{"engine, pnpm", "install", 1, ` ERR_PNPM_UNSUPPORTED_ENGINE  Unsupported environment (bad pnpm and/or Node.js version)

Your Node version is incompatible with "/app".`, ".nvmrc"},
		{"engine, yarn 1", "install", 1, `error vite@7.0.0: The engine "node" is incompatible with this module. Expected version "^20.19.0 || >=22.12.0". Got "18.20.8"
error Found incompatible module.`, ".nvmrc"},
		{"engine, vite", "build", 1, `You are using Node.js 18.20.8. Vite requires Node.js version 20.19+ or 22.12+. Please upgrade your Node.js version.
TypeError: crypto.hash is not a function`, ".nvmrc"},
		{"engine, next", "build", 1, `You are using Node.js 16.20.2. For Next.js, Node.js version ">=18.18.0" is required.`, ".nvmrc"},
		{"engine, angular", "build", 3, `Node.js version v18.12.0 detected.
The Angular CLI requires a minimum Node.js version of v20.19 or v22.12.`, ".nvmrc"},
		{"npm version", "install", 1, `npm error code EUNSUPPORTEDPROTOCOL
npm error Unsupported URL Type "workspace:": workspace:*`, "packageManager"},
		{"disk", "install", 1, `npm error code ENOSPC
npm error syscall write
npm error errno -28
npm error nospc ENOSPC: no space left on device, write`, "disk is full"},
		{"yarn 1, disk", "install", 1, `error An unexpected error occurred: "ENOSPC: no space left on device, copyfile '/a' -> '/b'".`, "disk is full"},
		{"watchers", "build", 1, `Error: ENOSPC: System limit for number of file watchers reached, watch '/app/src'`, "watch"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := Hint(test.step, test.code, test.tail); !strings.Contains(got, test.want) {
				t.Errorf("got %q, want %q in it", got, test.want)
			}
		})
	}
}

// TestHintDoesNotGuess gives it failures of the project itself, in which words of
// other causes occur.
func TestHintDoesNotGuess(t *testing.T) {
	for _, tail := range []string{
		"src/App.vue:3:10 - error TS2339: Property 'x' does not exist on type '{}'.",
		"[vite]: Rollup failed to resolve import \"./make\" from \"/app/src/main.ts\".",
		"src/pages/404.tsx: SyntaxError: Unexpected token (401:12)",
		"Error: Cannot find module './linux-icons.svg'",
		"error during build:\nsrc/router.ts (404:3): Expected ';', got ':'\nfile: src/E404Page.vue",
		"✓ 404 modules transformed.\nerror during build: Could not resolve entry module \"index.html\".",
		"  Line 12: 'git' is not defined  no-undef",
	} {
		if got := Hint("build", 1, tail); got != "" {
			t.Errorf("%q: got %q", tail, got)
		}
	}
}
