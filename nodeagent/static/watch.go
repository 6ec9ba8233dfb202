package static

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/clock"

	"github.com/headway-sh/headway/internal/filewatch"
)

const (
	// settle is how long a directory has to be quiet before it is read: a file
	// may be written in several steps.
	settle = 100 * time.Millisecond
	// again is how often it is read in any case, as for directories that are
	// mounted over or made anew.
	again = 20 * time.Second
)

// Config says where the files are.
type Config struct {
	// Dir is made if it is not there.
	Dir, NodeName string
	// Prepare fills in a pod's defaults and tells what the API would not take.
	Prepare func(*corev1.Pod) error
	// Broken is told of each file that cannot be used, once for each reason.
	Broken func(file string, err error)
	Clock  clock.WithTicker
	Logger *slog.Logger
}

// Run calls changed with what the directory holds, at once and after each
// change, until ctx ends.
func (c *Config) Run(ctx context.Context, changed func(Set)) error {
	if err := os.MkdirAll(c.Dir, 0o750); err != nil {
		return fmt.Errorf("make the directory for pods of files: %w", err)
	}
	var watching sync.WaitGroup
	defer watching.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	moved := make(chan struct{}, 1)
	watching.Go(func() {
		err := filewatch.Run(ctx, filepath.Join(c.Dir, "*"), func(error) {
			select {
			case moved <- struct{}{}:
			default:
			}
		})
		if err != nil {
			c.Logger.Warn("pods of files are looked for now and then only", "err", err)
		}
	})
	told := map[string]string{}
	var last *Set // nil until the directory could be read
	c.look(told, &last, changed)
	for {
		timer := c.Clock.NewTimer(again)
		select {
		case <-moved:
			timer.Stop()
			if !c.quiet(ctx, moved) {
				return nil
			}
		case <-timer.C():
		case <-ctx.Done():
			timer.Stop()
			return nil
		}
		c.look(told, &last, changed)
	}
}

// quiet waits until nothing has moved for a while; false: ctx has ended.
func (c *Config) quiet(ctx context.Context, moved <-chan struct{}) bool {
	for {
		timer := c.Clock.NewTimer(settle)
		select {
		case <-moved:
			timer.Stop()
		case <-timer.C():
			return true
		case <-ctx.Done():
			timer.Stop()
			return false
		}
	}
}

// look reads the directory and tells what is another than last.
func (c *Config) look(told map[string]string, last **Set, changed func(Set)) {
	set, err := c.Read()
	if err != nil {
		c.Logger.Error("pods of files not read; those that run go on", "err", err)
		return
	}
	for file, err := range set.Broken {
		if told[file] != err.Error() {
			told[file] = err.Error()
			c.Broken(file, err)
		}
	}
	for file := range told {
		if set.Broken[file] == nil {
			delete(told, file)
		}
	}
	if *last == nil || !maps.Equal(names(**last), names(set)) {
		*last = &set
		changed(set)
	}
}

// names tells sets apart: a pod's UID follows from what is in its file.
func names(s Set) map[string]bool {
	all := map[string]bool{}
	for _, p := range s.Pods {
		all["pod "+string(p.UID)] = true
	}
	for file := range s.Broken {
		all["file "+file] = true
	}
	return all
}
