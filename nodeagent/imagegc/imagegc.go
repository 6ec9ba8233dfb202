// Package imagegc removes images that nobody uses when the disk fills up.
//
//	used ≥ High ─▶ images that no pod uses, longest unused first ─▶ used ≤ Low
//	               those loaded by hand last: no registry may have them
//
// What goes is a function of what is there; Collector remembers since when
// images are there and when they were last used.
package imagegc

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"k8s.io/utils/clock"

	"github.com/headway-sh/headway/nodeagent/runtime"
)

// Policy says when images go.
type Policy struct {
	// High is the percentage of the disk in use from which on images go, until no
	// more than Low is in use. 100 switches it off.
	High, Low int
	// MinAge is how long an image stays that has just come.
	MinAge time.Duration
	// MaxAge is how long one may be unused that was pulled; 0: forever.
	MaxAge time.Duration
}

// Default is Kubernetes' documented policy.
var Default = Policy{High: 85, Low: 80, MinAge: 2 * time.Minute}

// Validate tells what is wrong with a policy.
func (p Policy) Validate() error {
	switch {
	case p.High < 0 || p.High > 100 || p.Low < 0 || p.Low > 100:
		return errors.New("image thresholds are percentages")
	case p.Low >= p.High:
		return fmt.Errorf("the low image threshold (%d) has to be below the high one (%d)", p.Low, p.High)
	case p.MaxAge != 0 && p.MaxAge <= p.MinAge:
		return errors.New("the maximum age of images has to be above their minimum age")
	}
	return nil
}

// Image is an image that may go.
type Image struct {
	ID    string
	Size  int64
	InUse bool
	// Loaded says that it was loaded by hand.
	Loaded bool
	// Since is when it was first seen, Used when it last was in use.
	Since, Used time.Time
}

// Disk is the file system that images are on.
type Disk struct{ Available, Capacity int64 }

// Choose gives the images to remove, in order, and how many bytes more should
// go than they have.
func Choose(p Policy, images []Image, disk Disk, now time.Time) (out []Image, missing int64) {
	var candidates []Image
	for _, i := range images {
		switch {
		case i.InUse || now.Sub(i.Since) < p.MinAge:
		case p.MaxAge != 0 && !i.Loaded && now.Sub(i.Used) > p.MaxAge:
			out = append(out, i)
		default:
			candidates = append(candidates, i)
		}
	}
	if disk.Capacity <= 0 || p.High >= 100 || 100-disk.Available*100/disk.Capacity < int64(p.High) {
		return out, 0
	}
	missing = disk.Capacity*int64(100-p.Low)/100 - disk.Available
	for _, i := range out {
		missing -= i.Size
	}
	for _, i := range inOrder(candidates) {
		if missing <= 0 {
			break
		}
		out = append(out, i)
		missing -= i.Size
	}
	return out, max(missing, 0)
}

func inOrder(images []Image) []Image {
	slices.SortFunc(images, func(a, b Image) int {
		if a.Loaded != b.Loaded {
			if a.Loaded {
				return 1
			}
			return -1
		}
		return cmp.Or(a.Used.Compare(b.Used), a.Since.Compare(b.Since), cmp.Compare(a.ID, b.ID))
	})
	return images
}

// Images are the runtime's.
type Images interface {
	ListImages(ctx context.Context) ([]runtime.Image, error)
	RemoveImage(ctx context.Context, ref string) error
}

// Config is what a Collector is made of.
type Config struct {
	Policy Policy
	Images Images
	// InUse gives the IDs of the images that pods and containers have.
	InUse func(ctx context.Context) (map[string]bool, error)
	Disk  func() (Disk, error)
	// Removed is told after images have gone, Failed when too few could go.
	Removed func()
	Failed  func(message string)
	Clock   clock.WithTicker
	Logger  *slog.Logger
}

const interval = 5 * time.Minute

// Collector removes images.
type Collector struct {
	Config
	mu   sync.Mutex // guards seen; held while images are removed
	seen map[string]Image
}

// New makes it; Run runs it.
func New(config Config) (*Collector, error) {
	if err := config.Policy.Validate(); err != nil {
		return nil, err
	}
	return &Collector{Config: config, seen: map[string]Image{}}, nil
}

// Run removes what the policy says until ctx ends.
func (c *Collector) Run(ctx context.Context) error {
	ticker := c.Clock.NewTicker(interval)
	defer ticker.Stop()
	for {
		if err := c.collect(ctx); err != nil && ctx.Err() == nil {
			c.Logger.Warn("images not collected", "err", err)
		}
		select {
		case <-ticker.C():
		case <-ctx.Done():
			return nil
		}
	}
}

func (c *Collector) collect(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	images, err := c.look(ctx)
	if err != nil {
		return err
	}
	disk, err := c.Disk()
	if err != nil {
		return err
	}
	chosen, missing := Choose(c.Policy, images, disk, c.Clock.Now())
	if err := c.remove(ctx, chosen); err != nil {
		return err
	}
	if missing > 0 {
		c.Failed(fmt.Sprintf("Failed to garbage collect required amount of images. Attempted to free %d bytes more than the images that nobody uses have.", missing))
	}
	return nil
}

// Reclaim removes all images that nobody uses; loaded: also those that were
// loaded by hand.
func (c *Collector) Reclaim(ctx context.Context, loaded bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	images, err := c.look(ctx)
	if err != nil {
		return err
	}
	return c.remove(ctx, slices.DeleteFunc(inOrder(images), func(i Image) bool { return i.InUse || i.Loaded && !loaded }))
}

// look remembers what is there and what is in use; mu is held.
func (c *Collector) look(ctx context.Context) ([]Image, error) {
	list, err := c.Images.ListImages(ctx)
	if err != nil {
		return nil, err
	}
	// After the list: an image that comes in between is not in it.
	used, err := c.InUse(ctx)
	if err != nil {
		return nil, fmt.Errorf("find images in use: %w", err)
	}
	now, seen := c.Clock.Now(), map[string]Image{}
	var all []Image
	for _, i := range list {
		one, known := c.seen[i.ID]
		if !known {
			one = Image{ID: i.ID, Since: now, Used: now}
		}
		one.Size, one.Loaded, one.InUse = i.Size, i.Loaded, used[i.ID]
		if one.InUse {
			one.Used = now
		}
		seen[i.ID] = one
		all = append(all, one)
	}
	c.seen = seen
	return all, nil
}

func (c *Collector) remove(ctx context.Context, images []Image) error {
	var errs []error // one that stays does not keep the others
	for _, i := range images {
		if err := c.Images.RemoveImage(ctx, i.ID); err != nil {
			errs = append(errs, err)
			continue
		}
		c.Logger.Info("image removed", "image", i.ID, "size", i.Size, "unused since", i.Used)
	}
	if len(errs) < len(images) {
		c.Removed()
	}
	return errors.Join(errs...)
}
