package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"text/tabwriter"
)

// A contender does one piece of work, once a run.
type contender struct {
	name string
	// run works in dir, which is empty at first and is removed afterwards. It
	// returns what it took, as one row of the table or several.
	run func(ctx context.Context, dir string) ([]timing, error)
	// peer tells that the work is another program's: where it cannot work, it is
	// left out, and the reason printed.
	peer bool
}

// timing is one measurement of the row of that name.
type timing struct {
	row     string
	seconds float64
}

// race lets every contender run in turn, prints a table, and returns the median
// seconds of each row. Ratio and difference are to the first row.
func race(ctx context.Context, tmp, title string, runs int, contenders []contender) (
	map[string]float64, error) {
	var rows []string
	seconds := map[string][]float64{}
	for range runs {
		for i := 0; i < len(contenders); i++ {
			c := contenders[i]
			timings, err := c.once(ctx, tmp)
			if err != nil && c.peer && ctx.Err() == nil {
				fmt.Fprintf(os.Stderr, "bench: %s: %s is left out: %v\n", title, c.name, err)
				contenders = slices.Delete(contenders, i, i+1)
				i--
				continue
			}
			if err != nil {
				return nil, fmt.Errorf("%s: %s: %w", title, c.name, err)
			}
			for _, t := range timings {
				if seconds[t.row] == nil {
					rows = append(rows, t.row)
				}
				seconds[t.row] = append(seconds[t.row], t.seconds)
			}
		}
	}
	return printRace(title, rows, seconds), nil
}

// once runs a contender in a directory of its own.
func (c contender) once(ctx context.Context, tmp string) ([]timing, error) {
	dir, err := os.MkdirTemp(tmp, "run-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	syscall.Sync() // nobody pays for the writes of the one before
	return c.run(ctx, dir)
}

// timed makes a run of one command; its row has the contender's name.
func timed(name string, peer bool, command func(j job) *exec.Cmd) contender {
	run := func(ctx context.Context, dir string) ([]timing, error) {
		f, err := measure([]*exec.Cmd{command(job{ctx: ctx, state: dir})})
		return []timing{{name, f.seconds}}, err
	}
	return contender{name: name, peer: peer, run: run}
}

func printRace(title string, rows []string, seconds map[string][]float64) map[string]float64 {
	medians := map[string]float64{}
	w := tabwriter.NewWriter(os.Stdout, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "\n%s\tmedian s\tleast s\tratio\tdifference s\t\n", title)
	for _, row := range rows {
		sorted := slices.Sorted(slices.Values(seconds[row]))
		medians[row] = sorted[len(sorted)/2]
		first := medians[rows[0]]
		fmt.Fprintf(w, "%s\t%.3f\t%.3f\t%.2f\t%+.3f\t\n", row, medians[row], sorted[0],
			medians[row]/first, medians[row]-first)
	}
	w.Flush()
	return medians
}

// copyTree copies a directory to name below dir.
func copyTree(from, dir, name string) (string, error) {
	to := filepath.Join(dir, name)
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		return "", fmt.Errorf("copying %s: %w", from, err)
	}
	return to, nil
}
