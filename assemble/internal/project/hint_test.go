package project

import (
	"strings"
	"testing"
)

func TestHintKnowsTheCause(t *testing.T) {
	tests := []struct {
		step string
		code int
		tail string
		want string
	}{
		{"build", 134, "FATAL ERROR: Reached heap limit Allocation failed - JavaScript heap out of memory", "max-old-space-size"},
		{"build", 134, "Aborted (core dumped)", "max-old-space-size"},
		{"build", 137, "Killed", "memory ran out"},
		{"install", 1, "npm error code EUSAGE\nnpm error Missing: @oxlint/binding-win32-x64-msvc@1.0.0 from lock file\n" +
			"`npm ci` can only install packages when your package.json and package-lock.json are in sync.", "other platforms"},
		{"install", 1, "npm error `npm ci` can only install packages when your package.json and package-lock.json are in sync.\n" +
			"npm error Missing: left-pad@1.3.0 from lock file", "disagree"},
		{"install", 1, " ERR_PNPM_OUTDATED_LOCKFILE  Cannot install with \"frozen-lockfile\"", "disagree"},
		{"install", 1, "➤ YN0028: │ The lockfile would have been modified by this install", "disagree"},
		{"build", 1, "Error: Cannot find module @rollup/rollup-linux-x64-gnu. npm has a bug", "written on another"},
		{"install", 1, "Error: Failed to replace env in config: ${NPM_TOKEN}", "--env-build"},
		{"install", 1, "npm error code E401\nnpm error Incorrect or missing password", "credentials"},
		{"install", 1, "npm error code E404\nnpm error 404 Not Found - GET https://r.example/@x%2fy", "no such package"},
		{"install", 1, "npm error code SELF_SIGNED_CERT_IN_CHAIN", "NODE_EXTRA_CA_CERTS"},
		{"build", 1, "request to https://fonts.gstatic.com/x failed, reason: getaddrinfo EAI_AGAIN", "Google Fonts"},
		{"install", 1, "npm error code EAI_AGAIN", "network was not reached"},
		{"install", 1, "npm error code ENOTCACHED", "not in the cache"},
		{"install", 1, "gyp ERR! find Python", "compiler"},
		{"install", 1, "npm error syscall spawn git\nnpm error spawn git ENOENT", "git"},
		{"build", 1, "Treating warnings as errors because process.env.CI = true.", "CI=false"},
		{"build", 1, "Vite requires Node.js version 20.19+ or 22.12+.", ".nvmrc"},
		{"build", 127, "sh: 1: vite: not found", "devDependencies"},
		{"install", 127, "sh: 1: npm: not found", "--builder"},
		{"setup", 1, "npm error code ETARGET", "packageManager"},
		{"build", 1, "write EIO: ENOSPC: no space left on device", "disk is full"},
		{"build", 2, "src/main.ts(3,1): error TS2304", ""},
		{"build", 3, "", "said nothing"},
	}
	for _, tt := range tests {
		got := Hint(tt.step, tt.code, tt.tail)
		if !strings.Contains(got, tt.want) || tt.want == "" && got != "" {
			t.Errorf("%s, %d, %q: %q, want %q", tt.step, tt.code, tt.tail, got, tt.want)
		}
	}
}
