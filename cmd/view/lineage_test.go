package view

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"plumb/engine"
	"plumb/store"
)

// TestLineageOfWhatIsGone draws an action whose run is gone, what is known by its content
// alone, and what a stage made whose result is gone.
func TestLineageOfWhatIsGone(t *testing.T) {
	digest := func(text string) store.Digest { return store.Sum([]byte(text)) }
	key := func(text string) store.Key { return store.Key(digest(text)) }
	now := time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC)
	doc := &engine.LineageDoc{
		Of: engine.LineageOf{Kind: "artifact", Name: "out.txt", Digest: digest("out"), Up: true},
		Artifacts: []engine.LineageArtifact{
			{Digest: digest("out"), MadeBy: key("use"), Kind: store.KindFile, Size: 3, Asked: true},
			{Digest: digest("out"), MadeBy: key("make"), Kind: store.KindFile, Size: 3}, // the same bytes
			{Digest: digest("lost"), MadeBy: key("lost"), Kind: store.KindFile, Size: 4},
			{Digest: digest("in"), Kind: store.KindFile, Size: 2, Places: []engine.LineagePlace{
				{Run: "r1", Project: "/other", Place: store.Place{Path: "there", Role: store.PlaceInput}},
				{Run: "r2", Project: "/p", Place: store.Place{Path: "data/in", Role: store.PlaceInput, Source: "raw", As: []string{"in"}}},
			}},
		},
		Actions: []engine.LineageAction{
			{
				Key: key("use"), Stage: "use", Run: "r2", Project: "/p", Created: now, Image: digest("image"), Outputs: []engine.LineageUse{{Name: "o", Path: "out.txt", Digest: digest("out")}},
				Inputs: []engine.LineageUse{
					{Path: "made", Digest: digest("out"), By: key("make"), Also: 2},
					{Path: "lost", Digest: digest("lost"), By: key("lost"), Stage: "lose"},
					{Path: "in", Digest: digest("in")},
				},
			},
			{Key: key("make"), Stage: "make", Run: "r1", Created: now, Image: digest("image"), Outputs: []engine.LineageUse{{Name: "o", Path: "made", Digest: digest("out")}}},
		},
	}
	var b bytes.Buffer
	Lineage(&b, Style{}, doc, now)
	short := func(text string) string { return digest(text).String()[:19] }
	want := []string{
		"out.txt  " + digest("out").String() + "  3 B",
		"made by",
		"└─ use  run r2, just now, image " + digest("image").Short(),
		"   ├─ made  " + short("out") + "  (2 others made the same)",
		"   │  └─ make  run r1, which is not kept, just now, image " + digest("image").Short(),
		"   ├─ lost  " + short("lost") + "  4 B  made by lose",
		"   └─ in  " + short("in") + "  2 B  source raw  from data/in",
		"",
	}
	if d := cmp.Diff(want, strings.Split(b.String(), "\n")); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	b.Reset()
	LineageMermaid(&b, doc)
	for _, edge := range []string{"s1 --> a1", "a1 --> s0", "s0 --> a0", "a2 --> s0", "a3 --> s0"} {
		if !strings.Contains(b.String(), "  "+edge+"\n") {
			t.Errorf("there is no %s in\n%s", edge, b.String())
		}
	}
	if n := strings.Count(b.String(), "-->"); n != 5 {
		t.Errorf("%d edges in\n%s", n, b.String())
	}
}
