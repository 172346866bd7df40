package plan

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestPrintKeepsTheNeededStagesAsTheyAre(t *testing.T) {
	const text = "\ufeff# syntax=docker/dockerfile:1\r\n# escape=`\r\n\r\nARG V=1\r\n\r\n" +
		"# about a\r\nFROM node AS a\r\nRUN x `\r\n  y\r\n\r\n# unused\r\nFROM b AS b\r\nRUN z\r\n# about c\r\n" +
		"FROM nginx:$V AS c\r\n\r\n# in c\r\nCOPY --from=a /x /y\r\nCOPY <<E /z\r\n# text\r\nE\r\n" +
		"FROM c AS d\r\nRUN d\r\n"
	const head = "# syntax=docker/dockerfile:1\n# escape=`\n\nARG V=1\n\n"
	const stageA = "# about a\nFROM node AS a\nRUN x `\n  y\n"
	const stageC = "# about c\nFROM nginx:$V AS c\n\n# in c\nCOPY --from=a /x /y\n" +
		"COPY <<E /z\n# text\nE\n"
	for target, want := range map[string]string{
		"":  head + stageA + "\n" + stageC + "\nFROM c AS d\nRUN d\n",
		"c": head + stageA + "\n" + stageC,
		"a": head + stageA,
		"b": head + "# unused\nFROM b AS b\nRUN z\n",
	} {
		g, err := mustParse(t, text).Resolve(options(ResolveOptions{Target: target}))
		if err != nil {
			t.Fatal(err)
		}
		got := g.Print()
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("target %q: %s", target, diff)
		}
		again, err := mustParse(t, got).Resolve(options(ResolveOptions{}))
		if err != nil || again.Print() != got {
			t.Errorf("target %q: what is printed does not print itself: %v", target, err)
		}
	}
}

func TestPrintKeepsNumbersRight(t *testing.T) {
	g, err := mustParse(t,
		"# about all\nFROM a\nFROM b AS b\nFROM c\nRUN x\nFROM d\nCOPY --from=2 a b\n").
		Resolve(options(ResolveOptions{}))
	if err != nil {
		t.Fatal(err)
	}
	want := "# Stage 0 is not needed, but stages are counted.\nFROM scratch\n\n" +
		"# Stage 1 is not needed, but stages are counted.\nFROM scratch\n\n" +
		"FROM c\nRUN x\n\nFROM d\nCOPY --from=2 a b\n"
	if diff := cmp.Diff(want, g.Print()); diff != "" {
		t.Error(diff)
	}
}
