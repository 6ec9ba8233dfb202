package pulls_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/headway-sh/headway/nodeagent/pulls"
	"github.com/headway-sh/headway/nodeagent/runtime"
)

var (
	jane = runtime.Credentials{Username: "jane", Password: "secret-of-jane"}
	jack = runtime.Credentials{Username: "jack", Password: "secret-of-jack"}
)

func TestWhoMayUseAnImage(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "pulls.json")
	open := func() *pulls.Records {
		t.Helper()
		r, err := pulls.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	do := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	r := open()
	names := func(id string) []string { return []string{"r/" + id + ":v1"} }
	pull := func(id string, there bool, c *runtime.Credentials, node bool) {
		t.Helper()
		was := ""
		if there {
			was = id
		}
		do(r.Begin("r/"+id+":v1", was))
		do(r.End("r/"+id+":v1", id, there, c, node))
	}
	pull("jane's", false, &jane, false)
	pull("both's", false, &jane, false)
	pull("both's", true, &jack, false)
	pull("the node's", false, nil, true)
	pull("open", false, nil, false)
	pull("opened", false, &jane, false)
	pull("opened", true, nil, false)
	pull("loaded", true, &jane, false)
	do(r.Begin("r/torn:v1", "")) // and a crash
	do(r.Begin("r/replaced:v1", "was there"))
	do(r.Begin("r/replaced:v1", "replaced")) // once more, with what the crash has left
	do(r.Begin("r/unreachable:v1", "unreachable"))
	text, err := os.ReadFile(path)
	if err != nil || strings.Contains(string(text), "secret-of") {
		t.Errorf("credentials are on the disk: %s, %v", text, err)
	}
	r = open()
	for id, want := range map[string]struct{ public, anonymous, jane, jack bool }{
		"jane's":     {false, false, true, false},
		"both's":     {false, false, true, true},
		"the node's": {false, true, true, true},
		"open":       {true, true, true, true},
		"opened":     {true, true, true, true},
		"loaded":     {true, true, true, true},
		"torn":       {false, false, false, false},
		// Whatever was to come, nothing did.
		"unreachable": {true, true, true, true},
		"replaced":    {false, false, false, false},
		"never seen":  {true, true, true, true},
	} {
		got := [4]bool{
			r.Public(id, names(id)), r.Allows(id, names(id), nil),
			r.Allows(id, names(id), []runtime.Credentials{jane}), r.Allows(id, names(id), []runtime.Credentials{{}, jack}),
		}
		if got != [4]bool{want.public, want.anonymous, want.jane, want.jack} {
			t.Errorf("%s: public, anonymous, jane, jack: %v, want %v", id, got, want)
		}
	}
	ended := make(chan error, 1)
	do(r.Keep(func() (map[string]bool, error) {
		// A pull that ends meanwhile waits until the others are forgotten.
		go func() { ended <- r.End("ref", "late", false, &jane, false) }()
		return map[string]bool{"both's": true}, nil
	}))
	do(<-ended)
	if r.Public("late", nil) {
		t.Error("what came while images were listed is everybody's")
	}
	if r = open(); !r.Public("jane's", nil) || r.Public("both's", nil) {
		t.Error("what is gone was kept, or what is there was not")
	}
}

func TestPullBegunByAnEarlierAgent(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "pulls.json")
	if err := os.WriteFile(path, []byte(`{"salt":"c2FsdA==","images":{},"begun":{"r/torn:v1":true}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for life := range 3 { // the second reads what the first has written
		r, err := pulls.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		if r.Public("torn", []string{"r/torn:v1"}) {
			t.Error("what came of a pull that did not end is everybody's")
		}
		// It has brought an image, "other" has not.
		if err := r.Recover(map[string]string{"r/torn:v1": "torn"}); err != nil {
			t.Fatal(err)
		}
		if r.Public("torn", []string{"r/torn:v1"}) || !r.Public("other", []string{"r/other:v1"}) {
			t.Errorf("life %d: what came is everybody's, or what is loaded later is nobody's", life)
		}
		if err := r.Begin("r/other:v1", ""); err != nil {
			t.Fatal(err)
		}
	}
}

func TestPullThatFailsIsForgotten(t *testing.T) {
	t.Parallel()
	r, err := pulls.Open(filepath.Join(t.TempDir(), "pulls.json"))
	if err != nil {
		t.Fatal(err)
	}
	open := func() bool { return r.Public("loaded", []string{"r/app:v1"}) }
	steps := []struct {
		name string
		do   func() error
		open bool
	}{
		{"one begins", func() error { return r.Begin("r/app:v1", "") }, false},
		{"another begins", func() error { return r.Begin("r/app:v1", "") }, false},
		{"one fails", func() error { return r.Fail("r/app:v1", "") }, false},
		{"the other fails", func() error { return r.Fail("r/app:v1", "") }, true},
		{"one begins again", func() error { return r.Begin("r/app:v1", "") }, false},
		{"it fails after the image came", func() error { return r.Fail("r/app:v1", "loaded") }, false},
	}
	for _, s := range steps {
		if err := s.do(); err != nil {
			t.Fatal(err)
		}
		if open() != s.open {
			t.Errorf("%s: everybody's: %v, want %v", s.name, open(), s.open)
		}
	}
}

func TestWrittenByNobody(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "pulls.json")
	for _, text := range []string{"", "{}", "{"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := pulls.Open(path); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%q: %v", text, err)
		}
	}
}
