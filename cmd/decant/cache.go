package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/decant-build/decant/assemble"
)

func newCacheCommand(std stdio) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "cache",
		Short:   "Show or free what is kept between builds",
		Example: "  decant cache info\n  decant cache prune --older-than 30d",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usagef("decant cache --help lists them", "a command is missing: info or prune")
			}
			return unknownCommand(cmd, args[0])
		},
		RunE: func(*cobra.Command, []string) error { return nil },
	}
	cmd.AddCommand(newCacheInfoCommand(std), newCachePruneCommand(std))
	return cmd
}

func newCacheInfoCommand(std stdio) *cobra.Command {
	return &cobra.Command{
		Use:     "info",
		Short:   "Show what the cache holds",
		Example: "  decant cache info",
		Args:    exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := neededCacheDir()
			if err != nil {
				return err
			}
			usage, err := assemble.ReadCache(cmd.Context(), dir)
			if err != nil {
				return err
			}
			if _, err := fmt.Fprintln(std.out, dir); err != nil {
				return err
			}
			return printUsage(std.out, usage)
		},
	}
}

// pruneOptions are the flags of cache prune.
type pruneOptions struct {
	all       bool
	maxSize   string
	olderThan string
}

func (o *pruneOptions) addFlags(fs *pflag.FlagSet) {
	fs.BoolVar(&o.all, "all", false, "free everything that no running build uses")
	fs.StringVar(&o.maxSize, "max-size", "", "free the longest unused until the rest fits in `SIZE`, as 2GB")
	fs.StringVar(&o.olderThan, "older-than", "", "free what was not used for `TIME`, as 30d or 12h")
}

// parse turns the flags into what to free; no flag at all frees everything.
func (o *pruneOptions) parse() (assemble.CachePrune, error) {
	p := assemble.CachePrune{All: o.all || o.maxSize == "" && o.olderThan == ""}
	var err error
	if o.maxSize != "" {
		if p.MaxBytes, err = parseSize(o.maxSize); err != nil {
			return p, err
		}
	}
	if o.olderThan != "" {
		if p.OlderThan, err = parseAge(o.olderThan); err != nil {
			return p, err
		}
	}
	return p, nil
}

func newCachePruneCommand(std stdio) *cobra.Command {
	var o pruneOptions
	cmd := &cobra.Command{
		Use:   "prune",
		Short: "Free the cache, or part of it",
		Long: "prune frees what is kept between builds. Without flags it frees everything that no running\n" +
			"build uses; what a build needs again it makes again.",
		Example: "  decant cache prune --older-than 30d",
		Args:    exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runCachePrune(cmd.Context(), &o, std)
		},
	}
	o.addFlags(cmd.Flags())
	return cmd
}

func runCachePrune(ctx context.Context, o *pruneOptions, std stdio) error {
	prune, err := o.parse()
	if err != nil {
		return err
	}
	dir, err := neededCacheDir()
	if err != nil {
		return err
	}
	freed, err := assemble.PruneCache(ctx, dir, prune)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintln(std.out, "freed:"); err != nil {
		return err
	}
	return printUsage(std.out, freed)
}

func neededCacheDir() (string, error) {
	dir, err := cacheDir()
	if err == nil && dir == "" {
		err = usagef("set DECANT_CACHE_DIR", "there is no cache: this user has no home directory")
	}
	return dir, err
}

func printUsage(w io.Writer, u assemble.CacheUsage) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	for _, k := range u.Kinds {
		inUse := ""
		if k.InUse > 0 {
			inUse = fmt.Sprintf("%d in use", k.InUse)
		}
		fmt.Fprintf(t, "%s\t%d\t%s\t%s\n", k.Kind, k.Entries, byteText(k.Bytes), inUse)
	}
	total := u.Total()
	fmt.Fprintf(t, "total\t%d\t%s\t\n", total.Entries, byteText(total.Bytes))
	return t.Flush()
}

// sizeUnits are those of byteText, and the powers of 1024.
var sizeUnits = []struct {
	suffix string
	bytes  float64
}{
	{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40},
	{"kB", 1e3}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12}, {"B", 1}, {"", 1},
}

func parseSize(text string) (int64, error) {
	for _, u := range sizeUnits {
		number, ok := strings.CutSuffix(text, u.suffix)
		if !ok {
			continue
		}
		n, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
		if err == nil && n > 0 && n*u.bytes < 1<<62 {
			return int64(n * u.bytes), nil
		}
		break
	}
	return 0, usagef("write it as 500MB or 2GiB", "malformed size %q", text)
}

func parseAge(text string) (time.Duration, error) {
	if number, ok := strings.CutSuffix(text, "d"); ok {
		n, err := strconv.ParseFloat(number, 64)
		if err == nil && n > 0 && n < 1e5 {
			return time.Duration(n * 24 * float64(time.Hour)), nil
		}
	} else if d, err := time.ParseDuration(text); err == nil && d > 0 {
		return d, nil
	}
	return 0, usagef("write it as 30d, 12h or 90m", "malformed time %q", text)
}
