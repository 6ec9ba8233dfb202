package imagegc_test

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	clocktesting "k8s.io/utils/clock/testing"
	"pgregory.net/rapid"

	"github.com/headway-sh/headway/nodeagent/imagegc"
	"github.com/headway-sh/headway/nodeagent/runtime"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var start = time.Unix(100_000, 0)

func at(minutes int) time.Time { return start.Add(time.Duration(minutes) * time.Minute) }

func ids(images []imagegc.Image) []string {
	var all []string
	for _, i := range images {
		all = append(all, i.ID)
	}
	return all
}

func TestChoose(t *testing.T) {
	t.Parallel()
	images := []imagegc.Image{
		{ID: "in use", Size: 50, InUse: true, Since: at(0), Used: at(0)},
		{ID: "loaded", Size: 50, Loaded: true, Since: at(0), Used: at(0)},
		{ID: "newer", Size: 4, Since: at(0), Used: at(20)},
		{ID: "older", Size: 4, Since: at(1), Used: at(10)},
		{ID: "young", Size: 50, Since: at(59), Used: at(59)},
	}
	policy := imagegc.Default
	aged := policy
	aged.MaxAge = 45 * time.Minute
	off := policy
	off.High = 100
	for name, tt := range map[string]struct {
		policy    imagegc.Policy
		available int64
		want      []string
		missing   int64
	}{
		"enough room":              {policy, 16, nil, 0},
		"down to the low mark":     {policy, 15, []string{"older", "newer"}, 0},
		"one is enough":            {imagegc.Policy{High: 85, Low: 82, MinAge: policy.MinAge}, 15, []string{"older"}, 0},
		"loaded ones last":         {policy, 5, []string{"older", "newer", "loaded"}, 0},
		"more than there is":       {imagegc.Policy{High: 85, Low: 10, MinAge: policy.MinAge}, 5, []string{"older", "newer", "loaded"}, 27},
		"switched off":             {off, 0, nil, 0},
		"long unused":              {aged, 50, []string{"older"}, 0},
		"long unused counts too":   {aged, 15, []string{"older", "newer"}, 0},
		"a disk that is not known": {policy, 0, nil, 0},
		"nothing at all is left":   {policy, -1, []string{"older", "newer", "loaded"}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			disk := imagegc.Disk{Available: max(tt.available, 0), Capacity: 100}
			if name == "a disk that is not known" {
				disk = imagegc.Disk{}
			}
			got, missing := imagegc.Choose(tt.policy, images, disk, at(60))
			if diff := cmp.Diff(tt.want, ids(got)); diff != "" || missing != tt.missing {
				t.Errorf("missing %d, want %d (-want +got)\n%s", missing, tt.missing, diff)
			}
		})
	}
}

// TestNeverInUse chooses at random: what is in use or young stays, and no image
// goes that is not needed for the low mark.
func TestNeverInUse(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		images := rapid.SliceOf(rapid.Custom(func(t *rapid.T) imagegc.Image {
			return imagegc.Image{
				ID: rapid.StringN(1, 8, 8).Draw(t, "id"), Size: rapid.Int64Range(0, 40).Draw(t, "size"), InUse: rapid.Bool().Draw(t, "in use"),
				Loaded: rapid.Bool().Draw(t, "loaded"), Since: at(rapid.IntRange(0, 60).Draw(t, "since")), Used: at(rapid.IntRange(0, 60).Draw(t, "used")),
			}
		})).Draw(t, "images")
		available := rapid.Int64Range(0, 100).Draw(t, "available")
		chosen, missing := imagegc.Choose(imagegc.Default, images, imagegc.Disk{Available: available, Capacity: 100}, at(60))
		freed := available
		for n, i := range chosen {
			if i.InUse || at(60).Sub(i.Since) < imagegc.Default.MinAge {
				t.Fatalf("%+v goes", i)
			}
			if freed >= 20 {
				t.Fatalf("image %d goes for nothing", n)
			}
			freed += i.Size
		}
		if available <= 15 && freed < 20 && missing != 20-freed {
			t.Fatalf("%d are there, %d missing", freed, missing)
		}
	})
}

// machine is a disk with images on it.
type machine struct {
	mu     sync.Mutex // guards all below
	images []runtime.Image
	free   int64
	failed []string
}

func (m *machine) ListImages(context.Context) ([]runtime.Image, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]runtime.Image(nil), m.images...), nil
}

func (m *machine) RemoveImage(_ context.Context, ref string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for n, i := range m.images {
		if i.ID == ref {
			m.free += i.Size
			m.images = append(m.images[:n], m.images[n+1:]...)
			return nil
		}
	}
	return nil
}

// TestCollector lets an image go that was used longest ago, and tells when that
// is not enough.
func TestCollector(t *testing.T) {
	t.Parallel()
	m := &machine{free: 50, images: []runtime.Image{{ID: "a", Size: 10}, {ID: "b", Size: 10}, {ID: "c", Size: 10, Loaded: true}}}
	used := map[string]bool{"a": true}
	clk := clocktesting.NewFakeClock(start)
	c, err := imagegc.New(imagegc.Config{
		Policy: imagegc.Default, Images: m, Clock: clk, Logger: slog.New(slog.DiscardHandler), Removed: func() {},
		InUse:  func(context.Context) (map[string]bool, error) { return used, nil },
		Disk:   func() (imagegc.Disk, error) { return imagegc.Disk{Available: m.free, Capacity: 100}, nil },
		Failed: func(message string) { m.failed = append(m.failed, message) },
	})
	if err != nil {
		t.Fatal(err)
	}
	pass := func() []string {
		t.Helper()
		clk.Step(5 * time.Minute)
		ctx, cancel := context.WithCancel(t.Context())
		cancel() // one pass
		if err := c.Run(ctx); err != nil {
			t.Fatal(err)
		}
		var left []string
		for _, i := range m.images {
			left = append(left, i.ID)
		}
		return left
	}
	expect := func(what string, want ...string) {
		t.Helper()
		if diff := cmp.Diff(want, pass()); diff != "" {
			t.Errorf("%s (-want +got)\n%s", what, diff)
		}
	}
	expect("room", "a", "b", "c")
	expect("still", "a", "b", "c")
	used = map[string]bool{}
	m.free = 11
	expect("b was used longest ago", "a", "c")
	m.free = 1
	expect("then a, then what was loaded")
	if m.free != 21 || len(m.failed) != 0 {
		t.Errorf("free %d, told of %v", m.free, m.failed)
	}
	m.free = 1
	expect("nothing is left")
	if len(m.failed) != 1 {
		t.Errorf("told of %v", m.failed)
	}
}
