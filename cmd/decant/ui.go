package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/pflag"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/term"

	"github.com/decant-build/decant/assemble"
	"github.com/decant-build/decant/registry"
)

// What a person sees is on standard error. The rules:
//   - a fact is one line, printed once, when it is settled;
//   - on a terminal, what is under way has a line of its own that goes when it
//     is done; elsewhere it is a plain line every ten seconds, and only for work
//     that takes that long;
//   - quiet leaves errors only;
//   - colour is bold and nothing else, never with NO_COLOR (https://no-color.org).

// plainInterval is how often work under way is reported without a terminal.
const plainInterval = 10 * time.Second

// uiOptions are the flags about standard error.
type uiOptions struct {
	progress string
	quiet    bool
}

func (o *uiOptions) addFlags(fs *pflag.FlagSet) {
	fs.StringVar(&o.progress, "progress", "auto", "what standard error shows: auto, plain or quiet (`MODE`)")
	fs.BoolVarP(&o.quiet, "quiet", "q", false, "print the result and errors only; the same as --progress quiet")
}

func (o *uiOptions) check() error {
	switch o.progress {
	case "auto", "plain", "quiet":
		return nil
	}
	return usagef("one of auto, plain, quiet", "unknown --progress %q", o.progress)
}

// ui shows one command's progress. Its methods may be called from several
// goroutines.
type ui struct {
	w     io.Writer
	quiet bool
	bold  bool
	// terminal is set where control characters would be acted on.
	terminal bool
	start    time.Time

	live  *mpb.Progress // nil without a terminal
	layer meter
	blobs meter

	mu     sync.Mutex
	sizes  map[string]int64 // blobs under way, by digest and operation
	done   map[string]int64
	closed bool
}

func newUI(w io.Writer, o uiOptions) *ui {
	u := &ui{
		w: w, start: time.Now(), quiet: o.quiet || o.progress == "quiet",
		sizes: map[string]int64{}, done: map[string]int64{},
	}
	f, isFile := w.(*os.File)
	terminal := isFile && term.IsTerminal(int(f.Fd())) && os.Getenv("TERM") != "dumb"
	u.terminal = terminal
	u.bold = terminal && os.Getenv("NO_COLOR") == ""
	if terminal && o.progress == "auto" && !u.quiet {
		u.live = mpb.New(mpb.WithOutput(w), mpb.WithWidth(72), mpb.WithRefreshRate(100*time.Millisecond))
		u.w = u.live
	}
	u.layer = meter{name: "layer"}
	u.blobs = meter{name: "transfer"}
	return u
}

// Fact implements assemble.Progress.
func (u *ui) Fact(topic, text string) {
	if u.quiet {
		return
	}
	if u.bold {
		topic = "\x1b[1m" + topic + "\x1b[0m"
	}
	u.printf("decant: %s: %s\n", topic, text)
}

// Warn implements assemble.Progress.
func (u *ui) Warn(text string) {
	if !u.quiet {
		u.printf("decant: warning: %s\n", text)
	}
}

// Logf reports a registry's decision that matters to the user.
func (u *ui) Logf(format string, args ...any) {
	u.Fact("registry", fmt.Sprintf(format, args...))
}

func (u *ui) printf(format string, args ...any) {
	u.mu.Lock()
	defer u.mu.Unlock()
	fmt.Fprintf(u.w, format, args...)
}

// Layer implements assemble.Progress.
func (u *ui) Layer(files, totalFiles int, bytes, totalBytes int64) {
	u.layer.show(u, bytes, totalBytes, fmt.Sprintf("%d/%d files", files, totalFiles))
}

// Transfer is the registry client's progress function.
func (u *ui) Transfer(e registry.Event) {
	if e.Op == registry.OpMount || e.Op == registry.OpSkip {
		return // no bytes move
	}
	key := string(e.Op) + e.Digest.Hex
	u.mu.Lock()
	u.sizes[key], u.done[key] = e.Total, e.Done
	var bytes, total int64
	for k, size := range u.sizes {
		total += size
		bytes += u.done[k]
	}
	n := len(u.sizes)
	u.mu.Unlock()
	u.blobs.show(u, bytes, total, fmt.Sprintf("%d blobs", n))
}

// close ends the live lines. It may be called twice.
func (u *ui) close() {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.live == nil || u.closed {
		return
	}
	u.closed = true
	u.layer.end()
	u.blobs.end()
	u.live.Wait()
	u.w = os.Stderr
}

// meter is one piece of work under way.
type meter struct {
	name string
	mu   sync.Mutex
	bar  *mpb.Bar
	text atomic.Pointer[string]
	said time.Time
}

func (m *meter) show(u *ui, done, total int64, text string) {
	if u.quiet {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.text.Store(&text)
	if u.live == nil {
		m.say(u, done, total, text)
		return
	}
	if m.bar == nil {
		m.bar = u.live.AddBar(total, mpb.BarRemoveOnComplete(),
			mpb.PrependDecorators(decor.Name("decant: "+m.name+" ")),
			mpb.AppendDecorators(
				decor.Any(func(decor.Statistics) string { return *m.text.Load() }),
				decor.CountersKibiByte("  % .1f / % .1f"),
				decor.AverageSpeed(decor.SizeB1024(0), "  % .1f"),
			))
	}
	m.bar.SetTotal(total, false)
	m.bar.SetCurrent(done)
}

// say prints a plain line, but not for work that is done in a moment.
func (m *meter) say(u *ui, done, total int64, text string) {
	now := time.Now()
	if m.said.IsZero() {
		m.said = now
	}
	if now.Sub(m.said) >= plainInterval {
		m.said = now
		u.printf("decant: %s: %s, %s of %s\n", m.name, text, byteText(done), byteText(total))
	}
}

func (m *meter) end() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.bar != nil {
		m.bar.Abort(true)
	}
}

// Step implements assemble.Progress. Without a terminal all output passes as it
// is; on one, a live line shows the last of it, and what a failed step printed
// last is shown with the error.
func (u *ui) Step(name, command string) (io.Writer, func(error)) {
	start := time.Now()
	line := &lastLine{}
	var bar *mpb.Bar
	out := io.Writer(line)
	switch {
	case u.quiet:
	case u.live == nil:
		u.Fact(name, command)
		out = u.passing()
	default:
		bar = u.live.AddSpinner(0, mpb.BarRemoveOnComplete(), mpb.PrependDecorators(
			decor.Name("decant: "+name+" "), decor.Elapsed(decor.ET_STYLE_GO),
			decor.Any(func(decor.Statistics) string { return "  " + line.String() }),
		))
	}
	return out, func(err error) {
		if bar != nil {
			bar.Abort(true)
		}
		if err == nil {
			u.Fact(name, fmt.Sprintf("done in %s", durationText(time.Since(start))))
		}
	}
}

// shows reports whether the output of steps was on standard error already.
func (u *ui) shows() bool { return !u.quiet && u.live == nil }

// passing writes what a step prints between the lines of others.
func (u *ui) passing() io.Writer { return (*passingWriter)(u) }

// passingWriter is a pointer, and so comparable: the sandbox takes equal writers for
// standard output and error as one, which keeps the order of the two.
type passingWriter ui

func (u *passingWriter) Write(p []byte) (int, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.terminal {
		if _, err := u.w.Write(harmless(p)); err != nil {
			return 0, err
		}
		return len(p), nil
	}
	return u.w.Write(p)
}

// lastLine keeps the last line written to it that is not blank, for a terminal.
type lastLine struct {
	mu   sync.Mutex
	line []byte
	part []byte
}

// maxLine bounds what is kept of a line, and shown.
const maxLine = 60

func (l *lastLine) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range p {
		switch {
		case c == '\n' || c == '\r':
			if len(l.part) > 0 {
				l.line, l.part = append(l.line[:0], l.part...), l.part[:0]
			}
		case c >= ' ' && c < 0x7f && len(l.part) < maxLine:
			l.part = append(l.part, c)
		}
	}
	return len(p), nil
}

func (l *lastLine) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.line)
}

// summary says what was made of what, and how long it took.
func (u *ui) summary(r *assemble.Result) {
	if u.quiet {
		return
	}
	l := r.Layer
	reuse := ""
	switch {
	case l.Unchanged && l.Layers == 0:
		reuse = ", unchanged: no file was read"
	case l.ReusedChunks == l.Chunks && l.Layers == 0:
		reuse = ", unchanged"
	case l.ReusedChunks > 0:
		reuse = fmt.Sprintf(", %d of %d pieces reused", l.ReusedChunks, l.Chunks)
	}
	if len(r.Images) == 0 {
		u.Fact("done", "in "+durationText(time.Since(u.start)))
		return
	}
	topic := "site"
	switch l.Layers {
	case 0:
	case 1:
		topic = "1 layer"
	default:
		topic = fmt.Sprintf("%d layers", l.Layers)
	}
	u.Fact(topic, fmt.Sprintf("%d files, %s → %s%s", l.Files, byteText(l.SiteBytes), byteText(l.Bytes), reuse))
	u.Fact("done", fmt.Sprintf("%s in %s: %s", platformText(r.Images), durationText(time.Since(u.start)),
		strings.Join(r.References, " ")))
}

func platformText(images []assemble.PlatformImage) string {
	var names []string
	for _, i := range images {
		names = append(names, i.Platform)
	}
	return strings.Join(names, ", ")
}

func durationText(d time.Duration) string {
	if d < time.Minute {
		return fmt.Sprintf("%.2f s", d.Seconds())
	}
	return d.Round(time.Second).String()
}

// byteText is a size for people: three digits and a unit of 1000.
func byteText(n int64) string {
	value, unit := float64(n), "B"
	for _, u := range []string{"kB", "MB", "GB", "TB"} {
		if value < 999.5 {
			break
		}
		value, unit = value/1000, u
	}
	if unit == "B" || value >= 99.5 {
		return fmt.Sprintf("%.0f %s", value, unit)
	}
	return fmt.Sprintf("%.1f %s", value, unit)
}
